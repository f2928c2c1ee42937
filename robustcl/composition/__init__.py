"""From a recipe to its plan: choose the recipe, find every part, check every need before a tensor exists, explain."""
