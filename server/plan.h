#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/encoder.h"
#include "preprocess/frames.h"
#include "preprocess/image.h"

namespace vitower {

enum class Priority : uint8_t { kHigh, kNormal, kLow };

// What is to be done for one item, settled from the request and the image's header before any work is done.
struct ItemPlan {
  ImageHeader header;
  ImageOptions image_options;
  ImageSize target;  // pixels, as resized
  GridThw grid;
  OutputSet outputs;    // what the client wants sent
  bool pooled = false;  // needs the tokens computed, sent or not
  DType dtype = DType::kBf16;
  Priority priority = Priority::kNormal;
  int64_t reply_bytes = 0;  // of this item's result, at most
};

}  // namespace vitower
