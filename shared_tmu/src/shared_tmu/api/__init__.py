"""The Python call of every model folder: `model = hamer_tmu.load(r="8x16"); hands = model.predict(image)`.

`load` of a model folder reads weights once and returns a `MeshModel`. It finds, crops and predicts with the
code of `demo.py`, so for the same pictures its results are those of the demo's `.npz`, bit for bit.
"""

from shared_tmu.api.crops import Speed
from shared_tmu.api.keywords import LoadOptions
from shared_tmu.api.model import MeshModel, load_model
from shared_tmu.api.results import Hand, Item, Person, PictureResult

__all__ = ["Hand", "Item", "LoadOptions", "MeshModel", "Person", "PictureResult", "Speed", "load_model"]
