import json

from tlee.engines.check import layers, summary

CONVOLUTION = {
    "Name": "conv1 + relu1",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Format/Datatype": "Channel major FP16 format where channel % 2 == 0"}],
    "Outputs": [{"Name": "y", "Format/Datatype": "Row major linear FP32"}],
    "Weights": {"Type": "Half", "Count": 9408},
}


def found(*entries) -> list[dict[str, str]]:
    return layers(json.dumps({"Layers": entries, "Bindings": ["x", "y"]}))


def test_a_layer_computes_in_what_its_weights_are():
    assert found(CONVOLUTION) == [{"name": "conv1 + relu1", "type": "CaskConvolution", "precision": "fp16"}]
    int8 = dict(CONVOLUTION, Weights={"Type": "Int8", "Count": 9408})
    assert found(int8)[0]["precision"] == "int8"


def test_a_layer_without_weights_computes_in_what_it_is_given():
    pool = {key: value for key, value in CONVOLUTION.items() if key != "Weights"}
    assert found(pool)[0]["precision"] == "fp16"
    newer = dict(pool, Inputs=[{"Name": "x", "Format/Datatype": "Float"}])
    assert found(newer)[0]["precision"] == "fp32"


def test_an_engine_without_details_tells_names_alone():
    assert found("conv1 + relu1") == [{"name": "conv1 + relu1", "type": "unknown", "precision": "unknown"}]


def test_layers_are_counted_by_precision():
    assert summary(found(CONVOLUTION, CONVOLUTION, "pool")) == "2 fp16, 1 unknown"
