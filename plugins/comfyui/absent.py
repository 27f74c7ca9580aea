"""Why the commonest classes without a counterpart have none: reasons for the report of an import."""

_DETECTOR = "its mask comes from a learned detector, and there is none here: Detailer takes any mask"
_PREPROCESSOR = "it is a learned preprocessor, and there is none here: load an image that is prepared already"
_PICTURE_PROMPT = "image prompts of unCLIP checkpoints are not supported: IPAdapter and ApplyStyleModel take an image"
_PHOTOMAKER = "PhotoMaker's identity network is not supported: IPAdapter takes an image"
_GLIGEN = "GLIGEN's grounding layers are not supported: ConditioningArea places prompts"
_HYPERNETWORK = "hypernetworks are not supported: use a LoRA"
_VIDEO = "video is not supported"
_AUDIO = "sound is not supported"
REASONS = {
    **dict.fromkeys(
        ("FaceDetailer", "FaceDetailerPipe", "UltralyticsDetectorProvider", "SAMLoader", "BboxDetectorSEGS",
         "ImpactSimpleDetectorSEGS", "SAM3_Detect"), _DETECTOR,
    ),
    **dict.fromkeys(
        ("AIO_Preprocessor", "OpenposePreprocessor", "DWPreprocessor", "LineArtPreprocessor", "HEDPreprocessor",
         "PiDiNetPreprocessor", "MiDaS-DepthMapPreprocessor", "Zoe-DepthMapPreprocessor", "DepthAnythingPreprocessor",
         "DepthAnythingV2Preprocessor", "LeReS-DepthMapPreprocessor", "MiDaS-NormalMapPreprocessor",
         "BAE-NormalMapPreprocessor", "SemSegPreprocessor", "M-LSDPreprocessor", "AnimeLineArtPreprocessor"),
        _PREPROCESSOR,
    ),
    **dict.fromkeys(("unCLIPConditioning", "unCLIPCheckpointLoader"), _PICTURE_PROMPT),
    **dict.fromkeys(("PhotoMakerEncode", "PhotoMakerLoader"), _PHOTOMAKER),
    **dict.fromkeys(("GLIGENLoader", "GLIGENTextBoxApply"), _GLIGEN),
    **dict.fromkeys(("LoadVideo", "SaveVideo", "CreateVideo", "VHS_VideoCombine", "VHS_LoadVideo"), _VIDEO),
    **dict.fromkeys(("LoadAudio", "SaveAudio"), _AUDIO),
    "HypernetworkLoader": _HYPERNETWORK,
    "ModelSamplingContinuousEDM": "sampling at continuous noise levels is not supported",
    "ModelSamplingContinuousV": "sampling at continuous noise levels is not supported",
    **dict.fromkeys(
        ("ModelMergeSD1", "ModelMergeSD2", "ModelMergeSDXL", "ModelMergeSDXLRefiner"),
        "models are merged by three shares, not by single blocks: use ModelMerge",
    ),
    "FlipSigmas": "sigmas can only fall here: the workflow forward-noising adds noise",
}  # fmt: skip
