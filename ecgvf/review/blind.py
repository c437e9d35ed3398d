"""The blind page: a reviewer says what single images show.

It shows an image, the names of concept and surrogate, and nothing that tells where the image comes from: images are
numbered in shuffled order, and sent as pixels, without what else their files may hold.
"""

from collections.abc import Collection, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from ecgvf.core.png import decode, encode
from ecgvf.review import loopback
from ecgvf.review.images import BlindImage
from ecgvf.review.labels import ANSWERS, LabelsFile

KEYS = dict(zip("csen", ANSWERS, strict=True))
"""Key of the keyboard → answer; the digits 1 to 4 are keys, too."""


def app(
    images: Sequence[BlindImage], labels: LabelsFile, reviewer: str, token: str, unsafe: Collection[str]
) -> Starlette:
    """The application for one reviewer. Images of the ``unsafe`` concepts are blurred until clicked."""
    numbers = {image.key: number for number, image in enumerate(images)}

    def labelled() -> list[int]:
        """The images that the reviewer has labelled, in the order in which they did."""
        return [numbers[key] for key in labels.read().get(reviewer, {}) if key in numbers]

    def numbered(text: object) -> int | None:
        is_number = isinstance(text, str) and text.isascii() and text.isdigit()
        number = int(str(text)[:9]) if is_number else len(images)
        return number if number < len(images) else None

    async def page(request: Request) -> Response:
        done = labelled()
        remaining = [number for number in range(len(images)) if number not in set(done)]
        at = numbered(request.query_params.get("at"))
        number = at if at in remaining else next(iter(remaining), None)
        image = None if number is None else images[number]
        return loopback.page(
            "blind.html.j2",
            image=image,
            number=number,
            blurred=image is not None and image.concept in unsafe,
            done=len(done),
            count=len(images),
            reviewer=reviewer,
            answers=KEYS,
        )

    async def picture(request: Request) -> Response:
        number = numbered(request.path_params["number"])
        if number is None:
            return loopback.not_found()
        return loopback.image(encode(decode(images[number].file.read_bytes())))

    async def label(request: Request) -> Response:
        form = await request.form()
        number, answer = numbered(form.get("number")), form.get("answer")
        known = next((known for known in ANSWERS if known == answer), None)
        if number is None or known is None:
            return loopback.bad_request("no such image or answer")
        labels.append(images[number].key, reviewer, known)
        return loopback.redirect("./")

    async def undo(_: Request) -> Response:
        if not (done := labelled()):
            return loopback.bad_request("nothing to take back")
        labels.append(images[done[-1]].key, reviewer, None)
        return loopback.redirect(f"./?at={done[-1]}")

    pages = {"": page, "picture/{number}.png": picture}
    return loopback.application(token, get=pages, post={"label": label, "undo": undo})
