#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "model/encoder.h"
#include "preprocess/frames.h"
#include "preprocess/image.h"
#include "preprocess/video.h"

namespace vitower {

enum class Priority : uint8_t { kHigh, kNormal, kLow };

// What a client may ask of one item.
struct ItemLimits {
  int64_t max_image_pixels = 0;        // of an image, or of a clip's frame, as sent
  int64_t max_item_patches = 0;        // of an item as resized, all slices of a clip
  int64_t max_video_frames = 200'000;  // of a clip as sent, whatever is sampled of it
  double max_video_seconds = 7'200;    // of an encoded clip, whatever is sampled of it
};

// What preprocessing does with an item's bytes, by source.
struct ImagePlan {
  ImageHeader header;
  ImageOptions options;
  ImageSize target;  // pixels, as resized
};
struct VideoPlan {
  VideoLimits limits;
  SamplingOptions sampling;
  ClipOptions options;
};
struct FrameListPlan {
  VideoLimits limits;
  std::optional<double> fps;
  std::optional<SamplingOptions> sampling;
  ImageOptions decode;
  ClipOptions options;
};
struct RgbImagePlan {
  ImageSize size;    // pixels, as sent
  ImageSize target;  // pixels, as resized
};
struct RgbClipPlan {
  int64_t frame_count = 0;  // as sent
  ImageSize size;           // pixels, as sent
  std::optional<double> fps;
  std::optional<SamplingOptions> sampling;
  ClipOptions options;
};
struct PatchesPlan {
  DType dtype = DType::kFp32;
};
using SourcePlan = std::variant<ImagePlan, VideoPlan, FrameListPlan, RgbImagePlan, RgbClipPlan, PatchesPlan>;

// What is to be done for one item, settled from the request and from headers before any work is done.
struct ItemPlan {
  SourcePlan source;
  GridThw grid;                // of an encoded clip what its header lets expect, until it is decoded
  OutputSet outputs;           // what the client wants sent
  bool pooled = false;         // needs the tokens computed, sent or not; likewise pooled_slices
  bool pooled_slices = false;  // one vector for each temporal slice
  bool l2_normalize = false;   // both of them
  DType dtype = DType::kBf16;
  Priority priority = Priority::kNormal;

  int64_t reply_bytes = 0;   // of this item's result, at most
  int64_t decode_bytes = 0;  // of one decoded image or frame before it is resized: held while preprocessing
  int64_t clip_bytes = 0;    // of a clip's resized frames, as expected: held until the forward pass
};

// A source whose frames are taken and sized as one clip: its result says which they were.
inline bool IsClip(const ItemPlan& plan) {
  return std::holds_alternative<VideoPlan>(plan.source) || std::holds_alternative<FrameListPlan>(plan.source) ||
         std::holds_alternative<RgbClipPlan>(plan.source);
}

}  // namespace vitower
