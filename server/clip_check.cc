#include "server/clip_check.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "server/item_check.h"
#include "server/preprocessing_check.h"
#include "server/sampling_check.h"
#include "server/source_check.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Decoding a clip holds the pictures that others refer to, as the codec has them, and one as RGB, a turned one twice.
// Measured: 8 (H.264 of one reference) to 21 (H.265, turned).
constexpr int64_t kDecodingBytesAPixel = 24;

// The same fault, with the field that has it.
absl::Status In(std::string_view field, const absl::Status& status) {
  return absl::Status(status.code(), Cat("the field ", field, ": ", std::string(status.message())));
}

// The plan of one clip. Whatever fails names its field.
class ClipPlanner final {
 public:
  ClipPlanner(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan)
      : item_(item), info_(info), limits_(limits), plan_(plan) {}

  absl::Status PlanVideo();
  absl::Status PlanFrameList();
  absl::Status PlanRgb();

 private:
  absl::Status Check(OverrideKinds kinds) const;
  absl::StatusOr<std::optional<SamplingOptions>> SamplingAtRate(bool wanted, const v1::Sampling& sampling,
                                                                std::optional<double> fps) const;
  absl::StatusOr<int64_t> CountSampled(int64_t total, std::optional<double> fps,
                                       const std::optional<SamplingOptions>& sampling) const;
  int64_t ExpectSampled(const VideoHeader& header, const SamplingOptions& sampling) const;
  absl::Status SetGrid(int64_t frames, ImageSize size, ClipOptions options);

  VideoLimits ClipLimits() const {
    return {limits_.max_image_pixels, limits_.max_video_seconds, limits_.max_video_frames};
  }

  const v1::Item& item_;
  const EncoderInfo& info_;
  const ItemLimits& limits_;
  ItemPlan& plan_;
};

absl::Status ClipPlanner::PlanVideo() {
  const v1::EncodedVideo& video = item_.video();
  if (video.data().empty()) return BadInput("the field video.data is empty");
  if (absl::Status checked = Check({.size = true, .encoding = false}); !checked.ok()) return checked;
  absl::StatusOr<ClipOptions> options = ClipOptionsOf(item_.preprocessing(), info_, limits_);
  if (!options.ok()) return options.status();
  absl::StatusOr<SamplingOptions> sampling = SamplingOf("video", video.sampling(), info_, limits_);
  if (!sampling.ok()) return sampling.status();
  absl::StatusOr<VideoHeader> header = ProbeVideo(BytesOf(video.data()), ClipLimits());
  if (!header.ok()) return In("video", header.status());
  plan_.source = VideoPlan{ClipLimits(), *sampling, *options};
  plan_.decode_bytes = kDecodingBytesAPixel * header->size.height * header->size.width;
  absl::Status set = SetGrid(ExpectSampled(*header, *sampling), header->size, *options);
  if (set.ok() || !header->reckoned) return set;
  return SetGrid(/*frames=*/1, header->size, *options);  // what is only reckoned refuses nothing
}

// Counts in headers are often reckoned from the duration: only decoding tells whether a sampling fits the clip.
int64_t ClipPlanner::ExpectSampled(const VideoHeader& header, const SamplingOptions& sampling) const {
  const int64_t most = sampling.num_frames.value_or(sampling.max_frames);
  if (header.frame_count < 1) return most;
  return CountSampled(header.frame_count, header.fps, sampling).value_or(std::min(most, header.frame_count));
}

absl::Status ClipPlanner::PlanFrameList() {
  const v1::FrameList& list = item_.frames();
  if (absl::Status checked = Check({.size = true, .encoding = true}); !checked.ok()) return checked;
  const int64_t count = list.images_size();
  if (count == 0) return BadInput("the field frames.images is empty");
  if (count > limits_.max_video_frames) {
    return BadInput("frames.images has ", count, " images, above the limit of ", limits_.max_video_frames,
                    " (--max-video-frames)");
  }
  FrameListPlan plan;
  plan.limits = ClipLimits();
  if (list.has_fps()) plan.fps = list.fps();
  auto sampling = SamplingAtRate(list.has_sampling(), list.sampling(), plan.fps);
  if (!sampling.ok()) return sampling.status();
  plan.sampling = *sampling;
  absl::StatusOr<ImageOptions> decode = DecodeOptionsOf(item_.preprocessing());
  if (!decode.ok()) return decode.status();
  plan.decode = *decode;
  absl::StatusOr<ClipOptions> options = ClipOptionsOf(item_.preprocessing(), info_, limits_);
  if (!options.ok()) return options.status();
  plan.options = *options;
  absl::StatusOr<int64_t> frames = CountSampled(count, plan.fps, plan.sampling);
  if (!frames.ok()) return frames.status();
  absl::StatusOr<ImageHeader> first = ProbeImage(BytesOf(list.images(0)), limits_.max_image_pixels);
  if (!first.ok()) return In("frames.images[0]", first.status());
  plan_.decode_bytes = DecodeBytes(*first, plan.decode);
  plan_.source = plan;
  return SetGrid(*frames, SizeAsShown(*first, plan.decode.apply_exif), plan.options);
}

absl::Status ClipPlanner::PlanRgb() {
  const v1::RawRgb& rgb = item_.rgb();
  const ImageSize size{rgb.height(), rgb.width()};
  if (absl::Status checked = Check({.size = true, .encoding = false}); !checked.ok()) return checked;
  if (rgb.frames() > limits_.max_video_frames) {
    return BadInput("rgb.frames is ", rgb.frames(), ", above the limit of ", limits_.max_video_frames,
                    " (--max-video-frames)");
  }
  RgbClipPlan plan;
  plan.frame_count = rgb.frames();
  plan.size = size;
  if (rgb.has_fps()) plan.fps = rgb.fps();
  auto sampling = SamplingAtRate(rgb.has_sampling(), rgb.sampling(), plan.fps);
  if (!sampling.ok()) return sampling.status();
  plan.sampling = *sampling;
  absl::StatusOr<ClipOptions> options = ClipOptionsOf(item_.preprocessing(), info_, limits_);
  if (!options.ok()) return options.status();
  plan.options = *options;
  absl::StatusOr<int64_t> frames = CountSampled(plan.frame_count, plan.fps, plan.sampling);
  if (!frames.ok()) return frames.status();
  plan_.source = plan;
  if (absl::Status set = SetGrid(*frames, size, plan.options); !set.ok()) return set;
  const int64_t patch = info_.tower.patch_size;
  const bool as_it_is = !plan.sampling && plan_.grid.h * patch == size.height && plan_.grid.w * patch == size.width;
  if (as_it_is) plan_.clip_bytes = 0;  // those of the request
  return absl::OkStatus();
}

absl::Status ClipPlanner::Check(OverrideKinds kinds) const {
  if (!info_.video_processor) {
    return MakeStatus(Fault::kNoVideo,
                      Cat("the model takes no clips, so the source ", ItemKind(item_),
                          " is refused: its folder has no video_preprocessor_config.json, which says how clips are ",
                          "sampled and resized"));
  }
  return CheckOverrides(item_.preprocessing(), kinds, ItemKind(item_));
}

// The sampling of a clip whose frames the client holds itself. Where its rate is unknown nothing is assumed: frames
// taken "2 a second" of a clip without seconds would be a guess.
absl::StatusOr<std::optional<SamplingOptions>> ClipPlanner::SamplingAtRate(bool wanted, const v1::Sampling& sampling,
                                                                           std::optional<double> fps) const {
  const std::string_view source = ItemKind(item_);
  if (fps) {
    if (absl::Status rate = CheckRate(Cat(source, ".fps"), *fps); !rate.ok()) return rate;
  }
  if (!wanted) return std::optional<SamplingOptions>();
  absl::StatusOr<SamplingOptions> options = SamplingOf(source, sampling, info_, limits_);
  if (!options.ok()) return options.status();
  const bool by_time = !options->num_frames || options->start_seconds || options->end_seconds;
  if (fps || !by_time) return std::optional<SamplingOptions>(*options);
  return BadInput(source, ".sampling goes by seconds, and ", source,
                  ".fps is not set: set it, or sample by num_frames only");
}

absl::StatusOr<int64_t> ClipPlanner::CountSampled(int64_t total, std::optional<double> fps,
                                                  const std::optional<SamplingOptions>& sampling) const {
  if (!sampling) return total;
  const absl::StatusOr<std::vector<int64_t>> indices = SampleFrames(total, fps, *sampling);
  if (!indices.ok()) return In(Cat(ItemKind(item_), ".sampling"), indices.status());
  return static_cast<int64_t>(indices->size());
}

absl::Status ClipPlanner::SetGrid(int64_t frames, ImageSize size, ClipOptions options) {
  options.max_patches = std::numeric_limits<int64_t>::max();  // checked here, where the flag has a name
  absl::StatusOr<GridThw> grid = ClipGrid(frames, size, options);
  if (!grid.ok()) return In(ItemKind(item_), grid.status());
  plan_.grid = *grid;
  plan_.clip_bytes = grid->patches() * info_.tower.patch_dim();
  if (grid->patches() <= limits_.max_item_patches) return CheckGridSides("the clip", plan_.grid);
  return BadInput("the clip of ", size.width, " x ", size.height, " pixels, of which ", frames,
                  " frames are taken, becomes ", grid->t, " x ", grid->h, " x ", grid->w, " = ", grid->patches(),
                  " patches, above the limit of ", limits_.max_item_patches, " (--max-item-patches)");
}

}  // namespace

absl::Status PlanVideo(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  return ClipPlanner(item, info, limits, plan).PlanVideo();
}

absl::Status PlanFrameList(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  return ClipPlanner(item, info, limits, plan).PlanFrameList();
}

absl::Status PlanRgbClip(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  return ClipPlanner(item, info, limits, plan).PlanRgb();
}

}  // namespace vitower
