"""What a tap costs: one script per figure, with ratios measured in one run. See README.md."""
