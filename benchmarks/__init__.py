"""What a tap costs: one script a figure, as ratios measured in one run. See README.md."""
