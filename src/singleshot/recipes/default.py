"""What `singleshot train` does where no recipe is named: a light detector from the shipped pre-trained backbone.

    singleshot train --data mine
    singleshot train default --data mine --minutes 10

Default boxes are fitted to the training split (`anchors="auto"`), and the backbone was pre-trained by distillation
(`singleshot pretrain`); `--weights none` starts from random weights. `Recipe()` itself, from which other recipes
inherit, stays as it was in 0.1.0. Each choice and what it is worth: docs/log.md;
not yet measured here on all three datasets.
"""

from __future__ import annotations

from singleshot.training.recipe import default_recipe

RECIPE = default_recipe()
