"""Models outside eager PyTorch: compiled as one graph, or exported as ONNX files for onnxruntime."""

from shared_tmu.export.compiled import CompiledModel
from shared_tmu.export.onnx_export import export_onnx
from shared_tmu.export.onnx_model import OnnxModel

__all__ = ["CompiledModel", "OnnxModel", "export_onnx"]
