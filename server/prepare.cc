#include "server/prepare.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "preprocess/resample.h"
#include "server/cast.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Far above any normalisation of pixels, and far below what a tower turns into infinities.
constexpr int kLargestPatchValue = 1024;

// One source's steps for each overload. An item is passed by value and so freed when its step is over.
class Preparation final {
 public:
  Preparation(Job& job, Clock& clock, TimePoint began_at) : job_(job), clock_(clock), began_at_(began_at) {}

  absl::Status operator()(const ImagePlan& plan) {
    absl::StatusOr<RgbImage> image = Decode(plan, job_.TakeItem());
    EndStage(Stage::kDecode);
    if (!image.ok()) return image.status();
    absl::StatusOr<Frames> frames = ResizeToFrames(*std::move(image), plan.target, plan.options);
    absl::Status resized = frames.status();
    if (resized.ok()) SetInput(*std::move(frames));
    EndStage(Stage::kResize);
    return resized;
  }

  absl::Status operator()(const RgbImagePlan& plan) {
    absl::Status resized = ResizeRgb(plan, job_.TakeItem());
    EndStage(Stage::kResize);
    return resized;
  }

  absl::Status operator()(const VideoPlan& plan) { return SetClip("video", DecodeClip(plan, job_.TakeItem())); }
  absl::Status operator()(const FrameListPlan& plan) { return SetClip("frames", DecodeClip(plan, job_.TakeItem())); }
  absl::Status operator()(const RgbClipPlan& plan) { return SetClip("rgb", DecodeClip(plan, job_.TakeItem())); }

  absl::Status operator()(const PatchesPlan& plan) {
    v1::Item item = job_.TakeItem();
    PatchRows rows{std::move(*item.mutable_patches()->mutable_data()), plan.dtype, job_.plan.grid};
    const absl::Span<const std::byte> values(reinterpret_cast<const std::byte*>(rows.values.data()),
                                             rows.values.size());
    if (!AllWithin(values, rows.dtype, kLargestPatchValue)) {
      return MakeStatus(Fault::kBadInput,
                        AllFinite(values, rows.dtype)
                            ? Cat("patches.data holds a value beyond [-", kLargestPatchValue, ", ", kLargestPatchValue,
                                  "]: expected are normalised pixels, which lie near [-1, 1]")
                            : "patches.data holds a value that is not finite");
    }
    SetInput(std::move(rows));
    return absl::OkStatus();
  }

 private:
  static absl::StatusOr<RgbImage> Decode(const ImagePlan& plan, const v1::Item& item) {
    return DecodeImage(BytesOf(item.image()), plan.header, plan.options);
  }

  absl::StatusOr<Clip> DecodeClip(const VideoPlan& plan, const v1::Item& item) const {
    return DecodeVideo(BytesOf(item.video().data()), plan.limits, plan.sampling, WhileWanted(plan.options));
  }

  absl::StatusOr<Clip> DecodeClip(const FrameListPlan& plan, const v1::Item& item) const {
    std::vector<absl::Span<const uint8_t>> images;
    images.reserve(static_cast<size_t>(item.frames().images_size()));
    for (const std::string& image : item.frames().images()) images.push_back(BytesOf(image));
    return DecodeFrameList(images, plan.fps, plan.sampling, plan.limits, plan.decode, WhileWanted(plan.options));
  }

  ClipOptions WhileWanted(ClipOptions options) const {
    options.gone = [this] { return job_.Gone(clock_.Now()).has_value(); };
    return options;
  }

  static absl::StatusOr<Clip> DecodeClip(const RgbClipPlan& plan, v1::Item item) {
    OwnedBytes rgb = std::move(*item.mutable_rgb()->mutable_data());
    return ResizeClip(std::move(rgb), plan.frame_count, plan.size, plan.fps, plan.sampling, plan.options);
  }

  absl::Status ResizeRgb(const RgbImagePlan& plan, v1::Item item) {
    Frames frames;
    frames.frame_count = 1;
    frames.height = plan.target.height;
    frames.width = plan.target.width;
    frames.grid = job_.plan.grid;
    std::string& rgb = *item.mutable_rgb()->mutable_data();
    if (plan.size == plan.target) {
      frames.rgb = std::move(rgb);
    } else {
      std::vector<uint8_t> resized(static_cast<size_t>(3 * frames.height * frames.width));
      ResampleBicubic(BytesOf(rgb), plan.size, absl::MakeSpan(resized), plan.target);
      frames.rgb = std::move(resized);
    }
    SetInput(std::move(frames));
    return absl::OkStatus();
  }

  // Decoding and resizing a clip are interleaved: what is not resizing is counted as decoding.
  absl::Status SetClip(std::string_view source, absl::StatusOr<Clip> clip) {
    const std::chrono::nanoseconds spent = clock_.Now() - began_at_;
    if (!clip.ok()) {
      job_.times.Set(Stage::kDecode, spent);
      return absl::Status(clip.status().code(), Cat("the field ", source, ": ", std::string(clip.status().message())));
    }
    const std::chrono::nanoseconds resizing = std::min(clip->resize_time, spent);
    job_.times.Set(Stage::kDecode, spent - resizing);
    job_.times.Set(Stage::kResize, resizing);
    job_.plan.grid = clip->frames.grid;
    job_.clip =
        ClipFacts{std::move(clip->frame_indices), clip->source_fps, std::move(clip->slice_timestamps), clip->padded};
    SetInput(std::move(clip->frames));
    return absl::OkStatus();
  }

  void SetInput(JobInput input) { job_.input = std::make_shared<const JobInput>(std::move(input)); }

  void EndStage(Stage stage) {
    const TimePoint now = clock_.Now();
    job_.times.Set(stage, now - began_at_);
    began_at_ = now;
  }

  Job& job_;
  Clock& clock_;
  TimePoint began_at_;
};

}  // namespace

absl::Status Prepare(Job& job, Clock& clock, TimePoint began_at) {
  try {
    return std::visit(Preparation(job, clock, began_at), job.plan.source);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("not enough memory to prepare the item");
  }
}

}  // namespace vitower
