"""What only one module does: rename, decode, load weights, open process groups. And what nobody does: unpickle."""

import ast

from source_tree import calls, hold, imports, sources

CODE = ("sr_core", "flows", "serving")
RENAMES = {"os.rename", "os.renames", "os.replace", "shutil.move"}
DECODERS = {"PIL.Image.open", "PIL.ImageFile.Parser", "tifffile.TiffFile", "tifffile.imread"}
IMAGES = {"sr_core/data/images.py", "sr_core/data/pictures.py", "sr_core/data/deep.py"}
WEIGHTS = {
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "safetensors.safe_open",
    "safetensors.torch.load",
    "safetensors.torch.load_file",
    "safetensors.torch.load_model",
}
GROUPS = {"init_process_group", "new_group", "init_device_mesh"}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def places(wanted, *, but):
    return [
        f"{source.at(node)}: {name}"
        for source in sources(*CODE)
        if source.path not in but
        for name, node in calls(source)
        if wanted(name, node)
    ]


def is_rename(name, node):
    """Path.replace takes one argument; str.replace takes two, dataclasses.replace takes keywords."""
    last = name.rpartition(".")[2]
    one = len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred)
    return name in RENAMES or last in {"rename", "renames"} or (last == "replace" and "." in name and one)


def test_only_files_renames():
    hold("only sr_core/files.py renames", places(is_rename, but={"sr_core/files.py"}))


def test_only_images_and_pictures_decode():
    def decodes(name, _node):
        last = name.rpartition(".")[2]
        return name in DECODERS or last in {"imread", "imdecode", "decode_image"} or name.startswith("imagecodecs.")

    hold("only sr_core/data/{images,pictures,deep}.py decode images", places(decodes, but=IMAGES))


def test_only_checkpoint_and_weights_load_weights():
    hold(
        "only sr_core/train/checkpoint.py and weights.py load weights",
        places(lambda name, _node: name in WEIGHTS, but={"sr_core/train/checkpoint.py", "sr_core/train/weights.py"}),
    )


def test_only_world_opens_process_groups():
    hold(
        "only sr_core/world.py opens process groups",
        places(lambda name, _node: name.rpartition(".")[2] in GROUPS, but={"sr_core/world.py"}),
    )


def is_unsafe(name, node):
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    return (name == "torch.load" and given.get("weights_only") is not True) or (
        name == "numpy.load" and given.get("allow_pickle", False) is not False
    )


def test_nobody_unpickles():
    hold("torch.load has weights_only=True, numpy.load never allow_pickle", places(is_unsafe, but=()))
    hold(
        "nobody imports a pickle",
        [
            f"{source.at(node)}: {name}"
            for source in sources(*CODE)
            for name, node in imports(source)
            if name.partition(".")[0] in PICKLES and source.path != "sr_core/world.py"  # tries what collectives pickle
        ],
    )
