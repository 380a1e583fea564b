"""Models beside each other: every one on the same images, its size and its speed, and pictures to look at.

entrants.py     who is compared, under which labels
sets.py         on which images
speed.py        how long each takes
run.py          from these to the comparison's folder
report.py       what a comparison found, as typed values and as compare.json
words.py        its table, for a terminal, Markdown and the page
figure.py       one image in all its versions, as one picture
plots.py, labels.py    quality over size and over time, and where the dots' names go
page.py, assets.py     all of it as one HTML file
"""
