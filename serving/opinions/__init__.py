"""What people think of a comparison's pictures: `sr vote` asks them blindly, `sr opinions` shows what they said.

page.py         `sr vote`: the page, by itself or as a part of the web page
view.py         its style and script in the browser
handler.py      what the script asks, and what it is answered
stimuli.py      the pictures, cut and encoded so that nothing tells where they come from
order.py        in which order each rater sees them
votes.py        the answers, in sqlite
command.py      `sr opinions`, and the same in Python
table.py        opinions beside PSNR and SSIM

The figures themselves (mean opinion scores, Bradley-Terry strengths, intervals) are sr_core/evaluate/opinions.py's.
"""
