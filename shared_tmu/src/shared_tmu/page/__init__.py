"""A page in the browser: a picture, a model and a slider in; meshes, merged tokens and times out.

    python -m shared_tmu.page                       # http://127.0.0.1:7860, on this machine only
    python -m shared_tmu.page --device cuda --port 8000

It is built on `shared_tmu.api`, and needs gradio (`pip install 'shared_tmu[page]'`) and a model package. It
loads nothing from elsewhere, neither fonts nor scripts, and sends nothing.
"""
