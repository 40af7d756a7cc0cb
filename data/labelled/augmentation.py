"""Augmentation of training videos."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]


class AugmentConfig(BaseModel):
    """Augmentation of training videos, the same for all frames of a clip. Not used in validation.

    Attributes:
        jitter: take each frame from anywhere in its part of the video instead of the part's middle; None for yes,
            unless `frames.sampling` is published.
        crop: smallest and largest share of the picture's area that a random crop keeps; None for the centre crop.
        flip: mirror half of the clips; None for yes if the data set allows it.
        colour: how far brightness, contrast and saturation vary, as a share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    jitter: bool | None = None
    crop: tuple[Share, Annotated[float, Field(gt=0, le=1)]] | None = None
    flip: bool | None = None
    colour: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _rises(self) -> AugmentConfig:
        if self.crop and self.crop[0] > self.crop[1]:
            raise ValueError(f"crop {list(self.crop)} does not rise")
        return self
