from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from singleshot.serve.batcher import Batcher
from singleshot.serve.messages import PredictRequest, PredictResponse, Refusal
from singleshot.serve.settings import Settings

SETTINGS = Settings(batch_size=4, queue_size=8, latency_s=0.02)


class Network:
    """Answers with what it was shown; it may take its time, or fail."""

    def __init__(self, delay_s: float = 0.0, failure: Exception | None = None) -> None:
        self.delay_s, self.failure = delay_s, failure
        self.batches: list[list[bytes]] = []

    async def run(self, batch: Sequence[PredictRequest]) -> list[PredictResponse]:
        self.batches.append([request.image for request in batch])
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        return [PredictResponse(200, request.image) for request in batch]


def with_batcher(network: Network, work: Any, settings: Settings = SETTINGS) -> Any:
    async def main() -> Any:
        async with Batcher(network.run, settings, lambda _count, _seconds: None) as batcher:
            return await work(batcher)

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_concurrent_images_form_a_batch_and_each_gets_its_own_response() -> None:
    network = Network(0.01)

    async def work(batcher: Batcher) -> list[PredictResponse]:
        return await asyncio.gather(*(batcher.submit(PredictRequest(b"%d" % i)) for i in range(7)))

    assert [answer.body for answer in with_batcher(network, work)] == [b"%d" % i for i in range(7)]
    assert [len(batch) for batch in network.batches] == [4, 3]


def test_a_single_image_waits_for_the_latency_budget_only() -> None:
    async def work(batcher: Batcher) -> float:
        start = asyncio.get_running_loop().time()
        await batcher.submit(PredictRequest(b"x"))
        return asyncio.get_running_loop().time() - start

    assert 0.015 < with_batcher(Network(), work) < 1.0
    assert with_batcher(Network(), work, replace(SETTINGS, latency_s=0.0)) < 1.0


def test_waiting_during_the_previous_batch_counts_towards_the_latency_budget() -> None:
    network = Network(0.4)

    async def work(batcher: Batcher) -> float:
        first = [asyncio.create_task(batcher.submit(PredictRequest(b"%d" % i))) for i in range(SETTINGS.batch_size)]
        await asyncio.sleep(0.05)
        second = asyncio.create_task(batcher.submit(PredictRequest(b"late")))
        await asyncio.gather(*first)
        start = asyncio.get_running_loop().time()
        await second
        return asyncio.get_running_loop().time() - start

    # 0.35 s of waiting are behind it when the first batch is done: it is looked at there and then.
    assert with_batcher(network, work, replace(SETTINGS, latency_s=0.3)) < 0.55
    assert network.batches[1:] == [[b"late"]]


def test_h7_a_full_queue_refuses_at_once() -> None:
    async def work(batcher: Batcher) -> list[Any]:
        asks: list[Coroutine[Any, Any, PredictResponse]] = [batcher.submit(PredictRequest(b"x")) for _ in range(40)]
        return await asyncio.gather(*asks, return_exceptions=True)

    results = with_batcher(Network(0.05), work)
    refused = [each for each in results if isinstance(each, Refusal)]
    assert {(each.status, each.code, each.headers) for each in refused} == {(503, "busy", ((b"retry-after", b"1"),))}
    answered = [each for each in results if isinstance(each, PredictResponse)]
    assert len(answered) == SETTINGS.queue_size, "those that fit are answered; the rest came before a batch began"


def test_h8_cancelled_requests_are_not_run() -> None:
    network = Network(0.05)

    async def work(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.submit(PredictRequest(b"%d" % i))) for i in range(8)]
        await asyncio.sleep(0.03)
        for task in tasks[4:7]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert batcher.waiting == 0

    with_batcher(network, work)
    assert network.batches == [[b"0", b"1", b"2", b"3"], [b"7"]]


def test_h8_a_disconnect_frees_queue_slot_and_image_at_once() -> None:
    network = Network(0.1)

    async def work(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.submit(PredictRequest(bytes(1000)))) for _ in range(SETTINGS.batch_size)]
        await asyncio.sleep(0.05)  # a batch is under way
        tasks += [asyncio.create_task(batcher.submit(PredictRequest(b"same"))) for _ in range(SETTINGS.queue_size)]
        await asyncio.sleep(0)
        assert batcher.waiting == SETTINGS.queue_size
        with pytest.raises(Refusal):
            batcher.check_room()
        tasks[-2].cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == SETTINGS.queue_size - 1
        batcher.check_room()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, PredictResponse) for each in results].count(False) == 1

    with_batcher(network, work)


@pytest.mark.parametrize(
    ("failure", "status"), [(Refusal(503, "no-worker", "It ended."), 503), (ZeroDivisionError("ours"), 500)]
)
def test_a_failed_batch_fails_its_own_requests_only(failure: Exception, status: int) -> None:
    network = Network(failure=failure)

    async def work(batcher: Batcher) -> PredictResponse:
        with pytest.raises(Refusal) as caught:
            await batcher.submit(PredictRequest(b"x"))
        assert caught.value.status == status and "ours" not in caught.value.message
        network.failure = None
        return await batcher.submit(PredictRequest(b"y"))

    assert with_batcher(network, work).body == b"y"


def test_h24_responses_never_reach_another_client_under_random_load() -> None:
    network = Network(0.0)
    settings = replace(SETTINGS, queue_size=64, latency_s=0.0)

    async def work(batcher: Batcher) -> int:
        async def client(name: int) -> int:
            wrong = 0
            for i in range(40):
                tag = b"%d/%d" % (name, i)
                task = asyncio.create_task(batcher.submit(PredictRequest(tag)))
                if (name + i) % 7 == 0:  # this one loses patience
                    await asyncio.sleep(0)
                    task.cancel()
                answer = (await asyncio.gather(task, return_exceptions=True))[0]
                wrong += isinstance(answer, PredictResponse) and answer.body != tag
            return wrong

        return sum(await asyncio.gather(*(client(name) for name in range(50))))

    assert with_batcher(network, work, settings) == 0
    assert sum(map(len, network.batches)) > 1500
