"""`make demo`: real photographs and edits of them go through the service's HTTP API; the answers are printed.

The photographs are those inside scikit-image's wheel. The service runs on a database of its own that is thrown
away at the end.
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import skimage.data
from PIL import Image, ImageEnhance, ImageOps

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized by a messenger": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "mirrored": ImageOps.mirror,
    "turned by 90 degrees": lambda photo: photo.transpose(Image.Transpose.ROTATE_90),
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.3),
    "mirrored and upside down": lambda photo: ImageOps.flip(ImageOps.mirror(photo)),
}
PATIENCE_SECONDS = 30


def main() -> None:
    """Upload photos as one claim each, then their edits as other claims, and print who was found."""
    with service() as (address, key):
        print(f"{'picture':38} {'verdict':16} {'found in':14} {'turn it by':11} bits of 256 apart")
        for name in PHOTOS:
            photo = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
            show(f"{name}", upload(address, key, f"CLAIM-{name}", encoded(photo, quality=92)))
            for number, (edit, change) in enumerate(EDITS.items()):
                answer = upload(address, key, f"OTHER-{name}-{number}", encoded(change(photo), quality=60))
                show(f"{name}, {edit}", answer)


@contextmanager
def service() -> Iterator[tuple[str, str]]:
    """Run `claimprint serve` on a temporary folder; its address and an admin key."""
    with tempfile.TemporaryDirectory(prefix="claimprint-demo-") as folder:
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        environment |= {"DATA_DIR": folder, "PORT": "0"}
        log = Path(folder) / "serve.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"], env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not (address := re.search(r"ready to listen on (http://\S+)", log.read_text())):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(log.read_text())
                time.sleep(0.05)
            key = re.search(r"cp_[\w-]{43}", log.read_text())
            assert key is not None
            yield address[1], key[0]
        finally:
            process.terminate()
            process.wait()


def upload(address: str, key: str, claim: str, data: bytes) -> Any:
    """POST one picture to a claim; the answer for it."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
    request = urllib.request.Request(
        f"{address}/claims/{claim}/images",
        data=head.encode() + data + f"\r\n--{boundary}--\r\n".encode(),
        headers={
            "Authorization": f"Bearer {key}",
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        },
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        return json.load(response)["images"][0]


def show(name: str, image: Any) -> None:
    """Print one line for one upload: the match with the first claim the picture was used in."""
    line = f"{name:38} {image['verdict']:16}"
    if image["matches"]:
        first = min(image["matches"], key=lambda match: match["uploaded_at"])
        line += f" {first['claim_id']:14} {first['transform']:11} {first['distances']['verifier']}"
    print(line)


def encoded(picture: Image.Image, quality: int) -> bytes:
    """Bytes of a JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


if __name__ == "__main__":
    main()
