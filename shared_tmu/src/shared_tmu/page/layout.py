"""The page's controls and how they depend on each other, in gradio."""

from __future__ import annotations

from typing import Any

import gradio as gr

from shared_tmu.errors import TMUError
from shared_tmu.masks import AUTO
from shared_tmu.page import texts
from shared_tmu.page.estimate import FIND, SUFFIXES
from shared_tmu.page.handlers import Handlers, remove

FORGET_S = 3600  # results and uploads of users who have left
VIEW_HEIGHT = 300
LABELS = {"npz": "All values (.npz)", "json": "All values (.json)", "glb": "Meshes (.glb)"}


def build_page(handlers: Handlers) -> Any:
    """The page for these models, as gradio's `Blocks`; the first is chosen.

    Raises:
        TMUError: the first model cannot be loaded.
    """
    first = handlers.catalog.names[0]
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(600, FORGET_S)) as page:
        gr.HTML(f'<header class="tmu-head"><h1>{texts.TITLE}</h1><p>{texts.INTRO}</p></header>')
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                controls = _controls(handlers, first)
            with gr.Column(scale=3, min_width=480):
                views = _views()
        gr.HTML(f'<footer class="tmu-foot"><p>{texts.BUNDLED}</p></footer>')
        _connect(page, handlers, controls, views)
    return page


def _controls(handlers: Handlers, first: str) -> dict[str, Any]:
    catalog = handlers.catalog
    entry, samples = catalog.entry(first), [str(path) for path in catalog.samples(first)]
    found: dict[str, Any] = {}
    gr.HTML(texts.heading("Picture"))
    found["picture"] = gr.Image(
        value=samples[0] if samples else None, type="filepath", image_mode=None, label="Picture",
        sources=["upload", "webcam", "clipboard"], webcam_options=gr.WebcamOptions(mirror=False),
        show_label=False, height=270, buttons=["fullscreen"], elem_id="picture",
        alt_text="The picture that is estimated",
    )  # fmt: skip
    # reading is left to us: a file that is no picture then gets our sentence
    found["picture"].preprocess = lambda payload: None if payload is None else payload.path
    gr.HTML(texts.heading("Samples (our own renders)"))
    found["samples"] = gr.Gallery(
        value=samples, label="Samples", show_label=False, columns=4, height=84, allow_preview=False,
        object_fit="cover", buttons=[], interactive=False, elem_id="samples",
    )  # fmt: skip
    found["model"] = gr.Radio(list(catalog.names), value=first, label="Model", elem_id="model")
    found["step"] = gr.Slider(
        0, len(entry.schedules) - 1, entry.start, step=1, buttons=[], elem_id="step",
        label=texts.slider_label(entry.layers), info=texts.SLIDER_INFO,
    )  # fmt: skip
    masks, places = catalog.masks(first), handlers.places(first)
    found["mask"] = gr.Dropdown(masks, value=AUTO, label="Tokens that merge last (mask)", elem_id="mask")
    found["where"] = gr.Radio(places, value=FIND, label="In the picture", elem_id="where")
    found["folders"] = gr.State((), time_to_live=FORGET_S, delete_callback=remove)
    return found


def _views() -> list[Any]:
    """In the order of `handlers.Results`, without its last."""
    report = gr.HTML(texts.waiting("The model is computing."), elem_id="report")
    shared: dict[str, Any] = {
        "interactive": False,
        "buttons": ["fullscreen"],
        "show_label": False,
    }
    with gr.Row():
        with gr.Column(min_width=260):
            gr.HTML(texts.heading("Meshes over the picture"))
            overlay = gr.Image(
                label="Meshes over the picture", height=VIEW_HEIGHT, elem_id="overlay", **shared,
                alt_text="The picture with the estimated meshes drawn over it",
            )  # fmt: skip
        with gr.Column(min_width=260):
            gr.HTML(texts.heading("Tokens before and after merging"))
            merged = gr.Image(
                label="Tokens before and after merging", height=VIEW_HEIGHT, elem_id="merged", **shared,
                alt_text="What the network sees, and the same with its groups of merged tokens coloured",
            )  # fmt: skip
        with gr.Column(min_width=260):
            gr.HTML(texts.heading("Meshes in 3D: drag to turn"))
            mesh = gr.Model3D(
                label="Meshes in 3D", show_label=False, height=VIEW_HEIGHT, interactive=False,
                elem_id="mesh", clear_color=(0.94, 0.95, 0.97, 1.0), buttons=[],
            )  # fmt: skip
    gr.HTML(texts.heading("Merging block by block"))
    strips = gr.Image(
        label="Merging block by block", elem_id="strips", **shared,
        alt_text="The groups of merged tokens after some of the blocks, from the first to the last",
    )  # fmt: skip
    with gr.Row():
        files = [
            gr.DownloadButton(LABELS[name], elem_id=f"save-{name}", size="md", interactive=False)
            for name in SUFFIXES
        ]
    return [report, overlay, merged, mesh, strips, *files]


def _connect(page: gr.Blocks, handlers: Handlers, controls: dict[str, Any], views: list[Any]) -> None:
    names = ("picture", "model", "step", "mask", "where", "folders")
    given = [controls[name] for name in names]

    def estimate(*values: Any) -> tuple[Any, ...]:
        *shown, folders = handlers.run(*values)
        files = [
            gr.DownloadButton(value=path, interactive=path is not None) for path in shown[-len(SUFFIXES) :]
        ]
        return (*shown[: -len(SUFFIXES)], *files, folders)

    run: dict[str, Any] = {
        "fn": estimate, "inputs": given, "outputs": [*views, controls["folders"]],
        "trigger_mode": "always_last", "show_progress": "minimal", "show_progress_on": views[0],
        "api_visibility": "private", "concurrency_limit": 1,
    }  # fmt: skip
    changes = [controls[name].input for name in ("step", "mask", "where")]
    gr.on([page.load, controls["picture"].change, *changes], **run)

    def choose(name: str, event: gr.SelectData) -> str:
        return handlers.sample(name, int(event.index))

    def adapt(name: str, picture: str | None, step: float) -> tuple[Any, ...]:
        try:
            found = handlers.adapt(name, picture, step)
        except TMUError:  # which `run` tells
            return (gr.skip(),) * 5
        return (
            gr.Slider(maximum=found.highest, value=found.step, label=texts.slider_label(found.layers)),
            gr.Dropdown(choices=found.masks, value=AUTO),
            gr.Radio(choices=found.places, value=FIND),
            [str(path) for path in found.samples],
            found.picture,
        )

    controls["samples"].select(choose, controls["model"], controls["picture"], api_visibility="private")
    adapted = [controls[name] for name in ("step", "mask", "where", "samples", "picture")]
    asked = [controls[name] for name in ("model", "picture", "step")]
    change = controls["model"].change(adapt, asked, adapted, api_visibility="private", concurrency_limit=1)
    change.then(**run)
