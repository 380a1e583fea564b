"""Models beside each other: every one on the same images, its size and its speed, and pictures to look at.

report.py       what a comparison found, as typed values and as compare.json
"""
