"""How each network was published: whose layers have which names, and what the shapes say of its size.

    EDSR-PyTorch    github.com/sanghyun-son/EDSR-PyTorch     0..rgb_range, mean colour as 1x1 convolutions
    BasicSR         github.com/XPixelGroup/BasicSR           EDSR in 0..255 after its mean; RRDBNet in 0..1
    JiahuiYu        github.com/JiahuiYu/wdsr_ntire2018       WDSR, (x - 255 * DIV2K's mean) / 127.5
    ychfan          github.com/ychfan/wdsr                   WDSR, x / 255 - 0.5, residual's weight in the gains
    ESRGAN          github.com/xinntao/ESRGAN                RRDBNet in 0..1, by its names of 2018 (old) and 2019 (new)

The first layout all of whose marks are there is the file's.
"""

from collections.abc import Mapping

from sr_core.models.layouts import edsr, rrdb, wdsr
from sr_core.models.layouts.reading import Layout

LAYOUTS = (
    Layout(
        source="EDSR-PyTorch's EDSR",
        marks=("head.0", "body.0.body.0", "body.0.body.2", "tail.1"),
        read=edsr.read_by(edsr.EDSR_PYTORCH),
    ),
    Layout(
        source="BasicSR's EDSR",
        marks=("conv_first", "body.0.conv1", "body.0.conv2", "conv_after_body", "conv_last"),
        read=edsr.read_by(edsr.BASICSR),
    ),
    Layout(
        source="JiahuiYu's WDSR",
        marks=("head.0", "body.0.body.0", "body.0.body.2", "tail.0", "skip.0"),
        read=wdsr.read_by(wdsr.JIAHUIYU),
    ),
    Layout(
        source="ychfan's WDSR",
        marks=("body.0", "body.1.body.0", "body.1.body.2", "skip.0"),
        read=wdsr.read_by(wdsr.YCHFAN),
    ),
    Layout(
        source="ychfan's WDSR",
        marks=("head", "body.0.body.0", "body.0.body.2", "tail", "skip"),
        read=wdsr.read_by(wdsr.YCHFAN_BY_NAME),
    ),
    Layout(
        source="BasicSR's RRDBNet",
        marks=("conv_first", "body.0.rdb1.conv1", "conv_body", "conv_hr", "conv_last"),
        read=rrdb.read_by(rrdb.BASICSR),
    ),
    Layout(
        source="ESRGAN's RRDBNet, new names",
        marks=("conv_first", "RRDB_trunk.0.RDB1.conv1", "trunk_conv", "HRconv", "conv_last"),
        read=rrdb.read_by(rrdb.ESRGAN_NEW),
    ),
    Layout(
        source="ESRGAN's RRDBNet, old names",
        marks=("model.0", "model.1.sub.0.RDB1.conv1.0"),
        read=rrdb.esrgan_old,
    ),
)

_MSRRESNET = (
    "MSRResNet, SRResNet without batch normalisation and with a bilinear skip: another network than srresnet, which "
    "has a normalisation after every convolution of its body; take weights of the paper's SRResNet, or train it"
)
_MDSR = "MDSR, one network for several scales, which is not here; take EDSR-PyTorch's EDSR of one scale"
# networks that are known not to be here, by layers that tell them
OTHERS: Mapping[tuple[str, ...], str] = {
    ("conv_first", "body.0.conv1", "upconv1", "conv_hr"): _MSRRESNET,
    ("conv_first", "recon_trunk.0.conv1", "upconv1", "HRconv"): _MSRRESNET,
    ("model.0", "model.1.sub.0.res.0"): _MSRRESNET,
    ("pre_process.0.0.body.0", "head.0"): _MDSR,
}
