"""MLServer: a custom runtime, as its documentation writes one."""

from __future__ import annotations

from lite_network import LiteNetwork
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class LiteRuntime(MLModel):
    """One network."""

    async def load(self) -> bool:
        self.network = LiteNetwork(self.name)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        arrays = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        outputs = [NumpyCodec.encode_output(name, array) for name, array in self.network(arrays).items()]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
