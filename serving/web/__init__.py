"""The page on which people enlarge photographs: `sr web`, or `python -m serving.web`.

command.py      the verb: address, limits, environment; the server
page.py         what is on the page
acts.py         what happens on a click
work.py         one photograph through one model: what the page computes
choices.py      the models and sample photographs to choose from
limits.py       what a photograph, a result and the process may take

Nothing is fetched from elsewhere, and a result's bytes are those that `sr upscale` writes.
"""
