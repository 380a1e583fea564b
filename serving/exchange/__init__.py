"""Networks for other programs, and from them: ONNX both ways, and files of torch.export.

export.py           `sr export onnx` and `sr export torch`: written, compared with the network, and only then kept
graph.py            a network as a graph of torch's operators, and of ONNX's
plain.py            a copy of a network, of layers that every exporter knows
onnx.py             an ONNX file used as every other network is
onnx_file.py        what is written beside the network in it, and whether it is whole
onnx_foreign.py     what has to be found out of one that others wrote
"""
