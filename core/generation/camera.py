"""Camera moves as typed values, with the phrases that models trained for them understand.

The phrases are those of the multiple-angles LoRA for Qwen-Image-Edit-2509 (its model card on the Hugging Face hub,
dx8152/Qwen-Edit-2509-Multiple-angles). It has no other trigger; its users write the Chinese phrase, the English one or
both.
"""

from __future__ import annotations

from enum import StrEnum


class CameraMove(StrEnum):
    """How the camera moves before the new image is taken."""

    FORWARD = "forward"
    LEFT = "left"
    RIGHT = "right"
    DOWN = "down"
    ROTATE_LEFT_45 = "rotate-left-45"
    ROTATE_RIGHT_45 = "rotate-right-45"
    TOP_DOWN = "top-down"
    WIDE_ANGLE = "wide-angle"
    CLOSE_UP = "close-up"

    @property
    def phrase(self) -> str:
        return _PHRASES[self]


_PHRASES = {
    CameraMove.FORWARD: "将镜头向前移动（Move the camera forward.）",
    CameraMove.LEFT: "将镜头向左移动（Move the camera left.）",
    CameraMove.RIGHT: "将镜头向右移动（Move the camera right.）",
    CameraMove.DOWN: "将镜头向下移动（Move the camera down.）",
    CameraMove.ROTATE_LEFT_45: "将镜头向左旋转45度（Rotate the camera 45 degrees to the left.）",
    CameraMove.ROTATE_RIGHT_45: "将镜头向右旋转45度（Rotate the camera 45 degrees to the right.）",
    CameraMove.TOP_DOWN: "将镜头转为俯视（Turn the camera to a top-down view.）",
    CameraMove.WIDE_ANGLE: "将镜头转为广角镜头（Turn the camera to a wide-angle lens.）",
    CameraMove.CLOSE_UP: "将镜头转为特写镜头（Turn the camera to a close-up.）",
}
