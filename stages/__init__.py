"""The verbs: one file a step, in the order that ``stages/recipe.py`` lists. Stages never import one another."""
