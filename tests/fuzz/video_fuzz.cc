// A clip, from its first byte to sampled frames.
#include "preprocess/video.h"
#include "tests/fuzz/expect.h"

namespace vitower {
namespace {

constexpr VideoLimits kLimits{/*max_frame_pixels=*/1 << 16, /*max_seconds=*/60, /*max_frames=*/200};

ClipOptions SmallClips() {
  ClipOptions options;
  options.min_pixels = 1 << 12;
  options.max_pixels = 1 << 18;
  options.max_patches = 1 << 10;
  return options;
}

SamplingOptions SamplingFrom(uint8_t choice) {
  SamplingOptions sampling;
  if ((choice & 1) != 0) sampling.num_frames = 1 + choice % 16;
  if ((choice & 2) != 0) sampling.start_seconds = 0.1;
  if ((choice & 4) != 0) sampling.end_seconds = 0.5;
  return sampling;
}

void Run(absl::Span<const uint8_t> bytes, const SamplingOptions& sampling) {
  const absl::StatusOr<VideoHeader> header = ProbeVideo(bytes, kLimits);
  if (IsRefusal(header)) return;
  Expect(header->size.height * header->size.width <= kLimits.max_frame_pixels, "the limit on pixels holds");
  Expect(header->frame_count <= kLimits.max_frames, "the limit on frames holds");
  const absl::StatusOr<Clip> clip = DecodeVideo(bytes, kLimits, sampling, SmallClips());
  if (IsRefusal(clip)) return;
  const Frames& frames = clip->frames;
  Expect(frames.frame_count == static_cast<int64_t>(clip->frame_indices.size()), "every frame has an index");
  Expect(static_cast<int64_t>(frames.rgb.size()) == frames.frame_count * frames.height * frames.width * 3,
         "every pixel is there");
  Expect(frames.grid.patches() <= SmallClips().max_patches, "the limit on patches holds");
}

}  // namespace
}  // namespace vitower

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vitower::Run({data, size}, vitower::SamplingFrom(size == 0 ? 0 : data[size - 1]));
  return 0;
}
