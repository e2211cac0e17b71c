"""Published weights: reading .pth files, and the colours that come out against PyTorch's."""

import json

import numpy as np
import pytest
from processes import call

import models
from common.errors import UserError
from conversion import published
from conversion.published import read_pth
from models.zhang import BLOCKS, ZhangColorizer, ab_bins

INSTALL = "pip install -r requirements-pretrained.txt"
KINDS = ("zip", "before 1.6")


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason=INSTALL)


def save(torch, weights, path, kind):
    torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", KINDS)
def test_both_kinds_of_files_are_read(kind, torch, tmp_path):
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3).half(), "a.steps": torch.tensor(7)}
    save(torch, weights, tmp_path / "a.pth", kind)
    weights = read_pth(tmp_path / "a.pth")
    assert list(weights) == ["a.weight", "a.steps"] and weights["a.steps"] == 7
    assert weights["a.weight"].dtype == np.float16
    np.testing.assert_array_equal(weights["a.weight"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", ["call", "cut", "empty", "number"])
def test_files_that_would_do_harm_or_are_damaged_are_one_sentence(kind, harm, torch, tmp_path):
    class Call:
        def __reduce__(self):
            return (tmp_path / "harm").touch, ()

    path = tmp_path / "bad.pth"
    save(torch, {"a": {"call": Call(), "number": 7}.get(harm, torch.zeros(99))}, path, kind)
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-40], "empty": b""}.get(harm, content))
    with pytest.raises(UserError, match=r"bad\.pth: not a PyTorch file of weights .*; download it again") as error:
        read_pth(path)
    assert "\n" not in str(error.value) and not (tmp_path / "harm").exists()


def test_other_weights_are_one_sentence(few_channels, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "read_pth", lambda path: {"a.weight": np.zeros((2, 3))})
    status, _, errors = call("-m", "conversion.published", "zhang", "a.pth", "--output", tmp_path / "model.keras")
    assert status == 1 and errors[0].startswith("a.pth: not the weights of the network of Zhang et al.")
    assert not list(tmp_path.iterdir())


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


def test_a_result_that_is_no_model_by_its_name_is_refused_before_work():
    command = ["zhang", "a.pth", "--output", "a.pth"]
    status, _, errors = call("-m", "conversion.published", *command)
    assert status == 2 and errors == ["--output a.pth: use a name that ends in .keras"]


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
@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_those_of_pytorch(kind, torch, tmp_path, capsys):
    network = pytorch_network(torch)
    save(torch, network.state_dict(), tmp_path / "a.pth", kind)
    output = tmp_path / "zhang" / "model.keras"
    status, lines, _ = call("-m", "conversion.published", "zhang", tmp_path / "a.pth", "--output", output)
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
