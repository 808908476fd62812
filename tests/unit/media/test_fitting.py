"""How images come to sizes of other proportions, on every way that pixels take."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageOps

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Fit
from core.pixels.upload import UploadedImage, pixels_of
from gateway.media.reading.decoded_kinds import CONTROL, IMAGE, MASK
from gateway.media.reading.decoding import uploaded
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.resolving.resolve import resolve
from tests.support.image_files import colours, saved
from tests.support.resolving import LIMITS_OF_SERVER, TINY_ENTRY
from tests.support.servers.serving import ENTRY_FIELDS, half_mask, photo

MAX_PX = 64_000_000
LANCZOS = Image.Resampling.LANCZOS


def resolved(task: Task = Task.IMAGE_TO_IMAGE, **fields: Any) -> GenerationRequest:
    return resolve(Draft(task=task, prompt="an apple", **fields), Catalogue([TINY_ENTRY]), LIMITS_OF_SERVER)


def upload_of(image: Image.Image, kind: Any = IMAGE) -> UploadedImage:
    return uploaded(saved(image), "image", MAX_PX, kind)


@pytest.mark.parametrize("full", [(300, 100), (100, 300), (97, 101), (1, 8)])
@pytest.mark.parametrize("size", [(64, 64), (96, 32), (32, 96)])
class TestUploads:
    def test_crop_is_pillows_fit(self, full: tuple[int, int], size: tuple[int, int]) -> None:
        image = colours(*full)
        assert upload_of(image).resized(*size, Fit.CROP).open() == ImageOps.fit(image, size, LANCZOS)

    def test_pad_is_pillows_pad(self, full: tuple[int, int], size: tuple[int, int]) -> None:
        image = colours(*full)
        assert upload_of(image).resized(*size, Fit.PAD).open() == ImageOps.pad(image, size, LANCZOS, "white")
        control = ImageOps.pad(image, size, LANCZOS, "black")
        assert upload_of(image, CONTROL).resized(*size, Fit.PAD).open() == control

    def test_stretch_is_a_resize(self, full: tuple[int, int], size: tuple[int, int]) -> None:
        image = colours(*full)
        assert upload_of(image).resized(*size).open() == image.resize(size, LANCZOS)

    @pytest.mark.parametrize("fit", Fit)
    def test_pixels_and_uploads_are_fitted_alike(self, full: tuple[int, int], size: tuple[int, int], fit: Fit) -> None:
        image = colours(*full)
        asked: dict[str, Any] = {"width": size[0], "height": size[1], "fit": fit}
        one, other = (resolved(image=each, **asked).image for each in (image, upload_of(image)))
        assert one is not None
        assert other is not None
        assert pixels_of(one) == pixels_of(other)


def test_bars_beside_a_mask_are_kept() -> None:
    mask = upload_of(Image.new("L", (64, 32), 255), MASK).resized(64, 64, Fit.PAD).open()
    assert mask.getcolors() == [(64 * 32, 0), (64 * 32, 255)]


def test_large_images_are_cropped_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.media.reading.decoding.WHOLE_PX", 10_000)
    monkeypatch.setattr("gateway.media.reading.strips.STRIP_PX", 4000)
    image = colours(600, 400)
    for file_format in ("PNG", "JPEG"):
        upload = uploaded(saved(image, file_format), "image", MAX_PX)
        size = (32, 32)
        for fit, wanted in (
            (Fit.CROP, ImageOps.fit(image, size, LANCZOS)),
            (Fit.PAD, ImageOps.pad(image, size, LANCZOS, "white")),
        ):
            drawn = upload.resized(*size, fit).open()
            differences = [abs(a - b) for a, b in zip(drawn.tobytes(), wanted.tobytes(), strict=True)]
            assert sum(differences) / len(differences) < 3


class TestDefault:
    def test_another_size_of_the_same_proportions_shows_everything(self) -> None:
        request = resolved(image=colours(300, 200), width=96, height=64)
        assert request.image is not None
        assert pixels_of(request.image) == colours(300, 200).resize((96, 64), LANCZOS)
        assert request.hints == ()

    @pytest.mark.parametrize("full", [(100, 70), (127, 129), (1920, 1080), (33, 77)])
    def test_rounding_to_the_models_sizes_cuts_nothing_off(self, full: tuple[int, int]) -> None:
        request = resolved(image=colours(*full))
        assert request.image is not None
        assert pixels_of(request.image) == colours(*full).resize((request.width, request.height), LANCZOS)
        assert request.hints == ()

    @pytest.mark.parametrize("full", [(150, 120), (130, 100), (66, 64)])
    def test_a_size_that_is_asked_for_is_taken_at_its_word(self, full: tuple[int, int]) -> None:
        request = resolved(image=colours(*full), width=64, height=64)
        assert request.image is not None
        assert pixels_of(request.image) == ImageOps.fit(colours(*full), (64, 64), LANCZOS)
        assert "image was cropped" in request.hints[0]

    def test_an_answers_parameters_say_how_the_image_was_fitted(self) -> None:
        first = resolved(image=colours(100, 70))
        asked = {name: getattr(first, name) for name in ("width", "height", "fit")}
        again = resolved(image=colours(100, 70), **asked)
        assert first.fit is Fit.STRETCH
        assert again.image == first.image

    def test_other_proportions_are_cropped_and_the_caller_is_told(self) -> None:
        request = resolved(image=colours(300, 100), width=64, height=64)
        assert request.image is not None
        assert pixels_of(request.image) == ImageOps.fit(colours(300, 100), (64, 64), LANCZOS)
        assert request.hints == ("image was cropped to 100x100 of 300x100 pixels; fit=pad keeps all of it",)

    def test_a_strip_that_the_model_has_no_size_for_is_cropped_and_not_squeezed(self) -> None:
        request = resolved(image=colours(800, 100))
        assert (request.width, request.height) == (128, 32)
        assert request.hints == ("image was cropped to 400x100 of 800x100 pixels; fit=pad keeps all of it",)

    @pytest.mark.parametrize("fit", [Fit.PAD, Fit.STRETCH])
    def test_nothing_is_told_where_nothing_is_cut_off(self, fit: Fit) -> None:
        assert resolved(image=colours(300, 100), width=64, height=64, fit=fit).hints == ()


def test_a_mask_follows_its_image() -> None:
    image, mask = colours(128, 64), half_mask(128, 64)
    request = resolved(Task.INPAINT, image=image, mask=mask, width=64, height=64)
    assert request.mask is not None
    assert pixels_of(request.mask) == half_mask(64, 64)


def test_a_choice_that_has_nothing_to_act_on_is_told() -> None:
    assert resolved(Task.TEXT_TO_IMAGE, fit=Fit.PAD).hints == (
        "fit is ignored: only images that get the size of the result are fitted",
    )


class TestProportions:
    @pytest.mark.parametrize("size", [(801, 100), (100, 801), (5000, 10), (9, 1)])
    @pytest.mark.parametrize("given", ["pixels", "upload"])
    def test_an_image_beyond_eight_to_one_is_refused(self, size: tuple[int, int], given: str) -> None:
        image = colours(*size)
        with pytest.raises(InvalidRequest, match=rf"image: is {size[0]} x {size[1]} pixels; .* 8 times as long"):
            resolved(image=upload_of(image) if given == "upload" else image)

    @pytest.mark.parametrize("field", ["reference_image", "control_image", "mask"])
    def test_every_image_is_looked_at(self, field: str) -> None:
        fields = {"image": colours(90, 10), "mask": half_mask(90, 10)} if field == "mask" else {field: colours(90, 10)}
        with pytest.raises(InvalidRequest, match=r"is 90 x 10 pixels; one side may be at most 8 times"):
            resolved(Task.INPAINT if field == "mask" else Task.TEXT_TO_IMAGE, **fields)

    def test_a_size_beyond_eight_to_one_is_refused(self) -> None:
        limits = {**ENTRY_FIELDS["limits"], "min_px": 16, "max_px": 256}  # type: ignore[dict-item]
        source = {"id": "tiny", "family": "stable-diffusion", "source": {"path": "weights"}}
        entry = Entry.model_validate({**ENTRY_FIELDS, **source, "limits": limits})
        with pytest.raises(InvalidRequest, match="width: 256 x 16: one side may be at most 8 times"):
            resolve(Draft(prompt="an apple", width=256, height=16), Catalogue([entry]), LIMITS_OF_SERVER)


def test_the_first_image_of_a_masked_edit_lies_as_it_is_seen() -> None:
    edit = {"tasks": {"edit": None}, "family": "flux2-klein", "limits": {**ENTRY_FIELDS["limits"], "max_images": 4}}  # type: ignore[dict-item]
    defaults = {**ENTRY_FIELDS["defaults"], "scheduler": "flow_euler"}  # type: ignore[dict-item]
    entry = Entry.model_validate({**ENTRY_FIELDS, **edit, "defaults": defaults, "id": "tiny", "source": {"path": "w"}})
    images = (photo(128, 64), photo(50, 40))
    draft = Draft(task=Task.EDIT, prompt="blue", images=images, mask=half_mask(128, 64), width=64, height=64)
    request = resolve(draft, Catalogue([entry]), LIMITS_OF_SERVER)
    assert request.image == request.images[0] == ImageOps.fit(images[0], (64, 64), LANCZOS)
    assert request.images[1] == images[1]
    assert request.mask == half_mask(64, 64)
    assert "images was cropped" in request.hints[0]
