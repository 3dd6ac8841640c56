"""Start the page: `python app.py`. Address and port follow GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""

import logging
import os

# Before torch is loaded: threads that wait for each other sleep instead of spinning. On a machine that does anything
# else beside, spinning makes training several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import gradio as gr

from app import health, joblog, keeper, settings, warmup
from app.theme import CSS_PATHS, HEAD, STATIC, THEME
from app.ui import build

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
for name in ("httpx", "httpx2"):  # they log every address they ask, signed ones of uploads too
    logging.getLogger(name).setLevel(logging.WARNING)
joblog.begin()
gr.set_static_paths(STATIC)
demo = build()

if __name__ == "__main__":
    warmup.begin()
    keeper.begin()
    demo.queue(default_concurrency_limit=8, max_size=64)
    demo.launch(
        theme=THEME,
        css_paths=CSS_PATHS,
        head=HEAD,
        max_file_size=f"{settings.UPLOAD_MB}mb",
        allowed_paths=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        footer_links=["gradio", "settings"],
        ssr_mode=False,  # tried: Node would answer /health itself; more in SECURITY.md
        auth=settings.logins(os.environ.get("VPT_LOGIN", "")),
        app_kwargs={"routes": health.ROUTES},
    )
