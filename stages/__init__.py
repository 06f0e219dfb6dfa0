"""The verbs: one file a step, in the order that ``stages/recipe.py`` lists. Stages never import one another."""

import pipeline as pipeline  # before torch: it sets how threads wait
