#pragma once

// private header
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/libav.h"
#include "preprocess/video.h"

namespace vitower {

// Decoded frames to upright RGB, by each frame's own colour space and range (untagged: BT.601, limited range, as libav
// and the reference's readers take it). 8-bit frames of even height get the bytes of PyAV's
// to_ndarray(format="rgb24"); elsewhere chroma is interpolated, and how differs between versions of swscale.
// Not thread-safe. May throw std::bad_alloc.
class FrameConverter final {
 public:
  // What of a frame decides how it is converted. AVColorSpace and AVChromaLocation as numbers: a file may hold others.
  struct Source {
    AVPixelFormat format = AV_PIX_FMT_NONE;
    int colorspace = AVCOL_SPC_UNSPECIFIED;
    int chroma = AVCHROMA_LOC_UNSPECIFIED;
    bool full_range = false;
    bool operator==(const Source&) const = default;
  };

  FrameConverter(ImageSize stored, int orientation) : stored_(stored), orientation_(orientation) {}

  ImageSize upright() const;

  // [height, width, 3] of upright(), valid until the next call. Refuses a frame of another size than `stored`.
  absl::StatusOr<absl::Span<const uint8_t>> Convert(const AVFrame& frame);

 private:
  absl::Status PrepareScaler(const Source& source);

  const ImageSize stored_;
  const int orientation_;
  Source source_;  // of scaler_
  Libav<SwsContext> scaler_;
  std::vector<uint8_t> rgb_;      // rows with room behind them, then packed
  std::vector<uint8_t> upright_;  // where orientation_ is not 1
};

}  // namespace vitower
