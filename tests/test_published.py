"""Published weights: reading .pth files, and the colours that come out against PyTorch's."""

import base64
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from processes import call

import models
from common.errors import UserError
from common.pth import read_pth
from models import published
from models.zhang import BLOCKS, ZhangColorizer, ab_bins

# What torch.save of PyTorch 2.13 writes for
#     {"a.weight": torch.arange(6.0).reshape(2, 3).half(), "a.steps": torch.tensor(7)}
# The pickle in its archive, and the file that _use_new_zipfile_serialization=False gives.
PICKLE = base64.b64decode(
    "gAJ9cQAoWAgAAABhLndlaWdodHEBY3RvcmNoLl91dGlscwpfcmVidWlsZF90ZW5zb3JfdjIKcQIoKFgHAAAAc3RvcmFnZXEDY3RvcmNoCkhhbGZT"
    "dG9yYWdlCnEEWAEAAAAwcQVYAwAAAGNwdXEGSwZ0cQdRSwBLAksDhnEISwNLAYZxCYljY29sbGVjdGlvbnMKT3JkZXJlZERpY3QKcQopUnELdHEM"
    "UnENWAcAAABhLnN0ZXBzcQ5oAigoaANjdG9yY2gKTG9uZ1N0b3JhZ2UKcQ9YAQAAADFxEGgGSwF0cRFRSwApKYloCilScRJ0cRNScRR1Lg=="
)
FLAT = base64.b64decode(
    "gAKKCmz8nEb5IGqoUBkugAJN6QMugAJ9cQAoWBAAAABwcm90b2NvbF92ZXJzaW9ucQFN6QNYDQAAAGxpdHRsZV9lbmRpYW5xAohYCgAAAHR5cGVf"
    "c2l6ZXNxA31xBChYBQAAAHNob3J0cQVLAlgDAAAAaW50cQZLBFgEAAAAbG9uZ3EHSwR1dS6AAn1xAChYCAAAAGEud2VpZ2h0cQFjdG9yY2guX3V0"
    "aWxzCl9yZWJ1aWxkX3RlbnNvcl92MgpxAigoWAcAAABzdG9yYWdlcQNjdG9yY2gKSGFsZlN0b3JhZ2UKcQRYDgAAADkzOTgxNjQxNDAwNzM2cQVY"
    "AwAAAGNwdXEGSwZOdHEHUUsASwJLA4ZxCEsDSwGGcQmJY2NvbGxlY3Rpb25zCk9yZGVyZWREaWN0CnEKKVJxC3RxDFJxDVgHAAAAYS5zdGVwc3EO"
    "aAIoKGgDY3RvcmNoCkxvbmdTdG9yYWdlCnEPWA4AAAA5Mzk4MTcyODEzMTYxNnEQaAZLAU50cRFRSwApKYloCilScRJ0cRNScRR1LoACXXEAKFgO"
    "AAAAOTM5ODE2NDE0MDA3MzZxAVgOAAAAOTM5ODE3MjgxMzE2MTZxAmUuBgAAAAAAAAAAAAA8AEAAQgBEAEUBAAAAAAAAAAcAAAAAAAAA"
)


def zipped(pickled):
    """An archive as PyTorch writes it, with the two storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", np.arange(6, dtype="<f2").tobytes())
        archive.writestr("archive/data/1", np.array([7], "<i8").tobytes())
    return file.getvalue()


FILES = {"zip": zipped(PICKLE), "flat": FLAT}


@pytest.mark.parametrize("kind", FILES)
def test_both_kinds_of_files_are_read(kind, tmp_path):
    (tmp_path / "a.pth").write_bytes(FILES[kind])
    weights = read_pth(tmp_path / "a.pth")
    assert list(weights) == ["a.weight", "a.steps"] and weights["a.steps"] == 7
    assert weights["a.weight"].dtype == np.float16
    np.testing.assert_array_equal(weights["a.weight"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("harm", ["call", "cut", "empty"])
def test_files_that_would_do_harm_or_are_damaged_are_one_sentence(kind, harm, tmp_path):
    class Call:
        def __reduce__(self):
            return (tmp_path / "harm").touch, ()

    whole = FILES[kind]
    call = pickle.dumps(Call())
    content = {"call": zipped(call) if kind == "zip" else call, "cut": whole[:-40], "empty": b""}[harm]
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.pth: not a PyTorch file of weights that can be read"):
        read_pth(tmp_path / "bad.pth")
    assert not (tmp_path / "harm").exists()


def test_tensors_cannot_reach_beyond_their_storage(tmp_path):
    content = FLAT.replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86")
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UserError, match="a tensor reaches beyond its storage"):
        read_pth(tmp_path / "bad.pth")


def test_other_weights_are_one_sentence(few_channels, tmp_path):
    (tmp_path / "a.pth").write_bytes(FILES["zip"])
    output = tmp_path / "model.keras"
    status, _, errors = call("-m", "models.published", "zhang", tmp_path / "a.pth", "--output", output)
    assert status == 1
    assert "a.pth: not the weights of the network of Zhang et al." in errors[-1]
    assert not output.exists()


def state_dict(model, bins):
    """The weights of a `ZhangColorizer` under the names and in the layouts of the published code."""
    names = {f"block_8_{number}": f"model8.{2 * number - 2}" for number in (1, 2, 3)} | {"logits": "model8.6"}
    for block, layout in enumerate(published.BLOCKS, start=1):
        names |= {f"block_{block}_{number}": f"model{block}.{2 * number - 2}" for number in range(1, len(layout) + 1)}
        names[f"block_{block}_norm"] = f"model{block}.{2 * len(layout)}"
    weights = {"model_out.weight": bins.T[..., None, None] / 110, "model1.4.num_batches_tracked": np.array(7)}
    for layer, source in names.items():
        for name, value in zip(
            ("weight", "bias", "running_mean", "running_var"), model.get_layer(layer).get_weights(), strict=False
        ):
            weights[f"{source}.{name}"] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
    return weights


def test_weights_there_and_back(few_channels):
    model = ZhangColorizer()
    for variable in model.variables:
        variable.assign(np.random.default_rng(0).uniform(0, 0.1, variable.shape))
    back = published.zhang(state_dict(model, ab_bins()))
    assert back.native_size == 256
    lightness = np.random.default_rng(0).uniform(0, 100, (1, 32, 48, 1)).astype(np.float32)
    # The published code has no temperature, or that of 1.
    model.temperature = 1.0
    np.testing.assert_allclose(back.colorize(lightness), model.colorize(lightness), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda weights: weights.pop("model3.4.bias"), "not the weights of the network of Zhang et al"),
        (lambda weights: weights.update(extra=weights["model3.4.bias"]), "there is extra, too"),
        (lambda weights: weights.update({"model3.4.bias": np.zeros(7)}), "not the weights of the network of Zhang"),
    ],
)
def test_what_is_missing_or_too_much_is_named(few_channels, change, cause):
    weights = state_dict(ZhangColorizer(), ab_bins())
    change(weights)
    with pytest.raises(models.ModelError, match=cause):
        published.zhang(weights)


def test_other_bins_are_refused(few_channels):
    with pytest.raises(models.ModelError, match="for other bins of ab"):
        published.zhang(state_dict(ZhangColorizer(), ab_bins()[::-1]))


def pytorch_network(torch):
    """The published layers with random weights, scaled so that no layer's output dies out, and what ends with ab."""
    nn = torch.nn

    def norm(channels):
        layer = nn.BatchNorm2d(channels)
        for values, low, high in ((layer.running_mean, 0, 1), (layer.running_var, 0.3, 2), (layer.weight, 0.5, 2)):
            nn.init.uniform_(values, low, high)
        nn.init.normal_(layer.bias)
        return layer

    def block(channels, layout):
        layers = []
        for filters, strides, dilation in layout:
            layers += [nn.Conv2d(channels, filters, 3, strides, padding=dilation, dilation=dilation), nn.ReLU()]
            channels = filters
        return nn.Sequential(*layers, norm(channels))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            channels = (1, *(layout[-1][0] for layout in BLOCKS))
            for number, layout in enumerate(BLOCKS):
                setattr(self, f"model{number + 1}", block(channels[number], layout))
            convolutions = [nn.ConvTranspose2d(512, 256, 4, 2, padding=1), nn.ReLU()]
            for _ in range(2):
                convolutions += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
            self.model8 = nn.Sequential(*convolutions, nn.Conv2d(256, 313, 1))
            self.model_out = nn.Conv2d(313, 2, 1, bias=False)
            for layer in self.modules():
                if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                    nn.init.kaiming_normal_(layer.weight)
                    nn.init.normal_(layer.bias, std=0.1) if layer.bias is not None else None
            self.model8[-1].weight.data /= 2  # Distributions neither flat nor of one bin.
            self.model_out.weight.data = torch.tensor(ab_bins().T[..., None, None] / 110)

        def forward(self, lightness):
            features = (lightness - 50) / 100
            for number in range(1, 9):
                features = getattr(self, f"model{number}")(features)
            ab = self.model_out(torch.softmax(features, dim=1)) * 110
            return nn.functional.interpolate(ab, scale_factor=4, mode="bilinear")

    torch.manual_seed(0)
    return Network().eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_colours_are_those_of_pytorch(kind, tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="pip install 'torch>=2.13,<2.14'")
    network = pytorch_network(torch)
    torch.save(network.state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=kind == "zip")
    output = tmp_path / "zhang" / "model.keras"
    status, lines, _ = call("-m", "models.published", "zhang", tmp_path / "a.pth", "--output", output)
    assert status == 0 and "the published weights of zhang" in lines
    assert json.loads(output.with_suffix(".json").read_text())["file"] == "a.pth"
    model = models.load(output)
    for size in ((176, 176), (256, 256), (192, 160)):
        lightness = np.random.default_rng(0).uniform(0, 100, (2, *size, 1)).astype(np.float32)
        inputs = torch.tensor(np.moveaxis(lightness, -1, 1))
        with torch.no_grad():
            expected, exact = network.float()(inputs).numpy(), network.double()(inputs.double()).numpy()
        assert np.ptp(expected, axis=(2, 3)).min() > 20
        ab = np.moveaxis(model.colorize(lightness).numpy(), -1, 1)
        difference, rounding = np.abs(ab - expected).max(), np.abs(expected - exact).max()
        with capsys.disabled():
            print(f"\n{size}: {difference:.1e} Lab; PyTorch in float32 from float64: {rounding:.1e}")
        assert difference < 1e-3 and np.abs(ab - exact).max() < 3 * rounding
