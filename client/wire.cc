#include "client/wire.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/retry_after.h"

namespace vitower {
namespace {

v1::DType ToProto(WireDType dtype) { return static_cast<v1::DType>(dtype); }

WireDType FromProto(v1::DType dtype) {
  return v1::DType_IsValid(dtype) ? static_cast<WireDType>(dtype) : WireDType::kUnspecified;
}

static_assert(static_cast<int>(WireDType::kBf16) == v1::DTYPE_BF16 &&
              static_cast<int>(WireDType::kFp16) == v1::DTYPE_FP16 &&
              static_cast<int>(WireDType::kFp32) == v1::DTYPE_FP32);
static_assert(static_cast<int>(ItemPriority::kHigh) == v1::PRIORITY_HIGH &&
              static_cast<int>(ItemPriority::kNormal) == v1::PRIORITY_NORMAL &&
              static_cast<int>(ItemPriority::kLow) == v1::PRIORITY_LOW);

void FillSampling(const ClipSampling& sampling, v1::Sampling& out) {
  if (sampling.fps) out.set_fps(*sampling.fps);
  if (sampling.num_frames) out.set_num_frames(*sampling.num_frames);
  if (sampling.min_frames) out.set_min_frames(*sampling.min_frames);
  if (sampling.max_frames) out.set_max_frames(*sampling.max_frames);
  if (sampling.start_seconds) out.set_start_seconds(*sampling.start_seconds);
  if (sampling.end_seconds) out.set_end_seconds(*sampling.end_seconds);
}

void FillSource(const ImageSource&, v1::Item&) {}

void FillSource(const VideoSource& video, v1::Item& out) {
  FillSampling(video.sampling, *out.mutable_video()->mutable_sampling());
}

void FillSource(const FramesSource& source, v1::Item& out) {
  v1::FrameList& frames = *out.mutable_frames();
  if (source.fps) frames.set_fps(*source.fps);
  if (source.sampling) FillSampling(*source.sampling, *frames.mutable_sampling());
}

void FillSource(const RgbSource& source, v1::Item& out) {
  v1::RawRgb& rgb = *out.mutable_rgb();
  rgb.set_frames(source.frames);
  rgb.set_height(source.height);
  rgb.set_width(source.width);
  if (source.fps) rgb.set_fps(*source.fps);
  if (source.sampling) FillSampling(*source.sampling, *rgb.mutable_sampling());
}

void FillSource(const PatchesSource& source, v1::Item& out) {
  v1::PatchRows& patches = *out.mutable_patches();
  patches.set_dtype(ToProto(source.dtype));
  patches.mutable_grid_thw()->set_t(source.grid_thw[0]);
  patches.mutable_grid_thw()->set_h(source.grid_thw[1]);
  patches.mutable_grid_thw()->set_w(source.grid_thw[2]);
}

void FillPreprocessing(const EmbedItem& item, v1::Preprocessing& preprocessing) {
  if (item.min_pixels) preprocessing.set_min_pixels(*item.min_pixels);
  if (item.max_pixels) preprocessing.set_max_pixels(*item.max_pixels);
  if (item.do_resize) preprocessing.set_do_resize(*item.do_resize);
  if (item.apply_exif) preprocessing.set_apply_exif(*item.apply_exif);
  if (item.background) {
    preprocessing.mutable_background()->set_red((*item.background)[0]);
    preprocessing.mutable_background()->set_green((*item.background)[1]);
    preprocessing.mutable_background()->set_blue((*item.background)[2]);
  }
}

void FillOutputs(const EmbedItem& item, v1::Outputs& outputs) {
  outputs.set_tokens(item.tokens);
  for (uint32_t level : item.deepstack_levels) outputs.add_deepstack_levels(level);
  outputs.set_pooled(item.pooled);
  outputs.set_pooled_slices(item.pooled_slices);
  outputs.set_l2_normalize(item.l2_normalize);
  outputs.set_dtype(ToProto(item.dtype));
}

bool HasPreprocessing(const EmbedItem& item) {
  return item.min_pixels || item.max_pixels || item.do_resize || item.apply_exif || item.background;
}

OutputTensor TakeTensor(v1::Tensor& tensor) {
  return {.name = std::move(*tensor.mutable_name()),
          .shape = {tensor.shape().begin(), tensor.shape().end()},
          .dtype = FromProto(tensor.dtype()),
          .data = std::move(*tensor.mutable_data())};
}

std::vector<std::pair<std::string, double>> StageSeconds(const v1::StageTimes& times) {
  return {{"receive", times.receive_seconds()},
          {"admit", times.admit_seconds()},
          {"decode", times.decode_seconds()},
          {"resize", times.resize_seconds()},
          {"queue", times.queue_seconds()},
          {"upload", times.upload_seconds()},
          {"patch_embed", times.patch_embed_seconds()},
          {"position", times.position_seconds()},
          {"blocks", times.blocks_seconds()},
          {"merger", times.merger_seconds()},
          {"download", times.download_seconds()}};
}

absl::Status StatusOf(const v1::Result& result) {
  absl::Status status(static_cast<absl::StatusCode>(result.status().code()), result.status().message());
  if (!status.ok() && result.retry_after_ms() > 0) {
    SetRetryAfter(std::chrono::milliseconds(result.retry_after_ms()), status);
  }
  return status;
}

}  // namespace

std::string_view Name(WireDType dtype) {
  constexpr std::string_view kNames[] = {"unspecified", "bf16", "fp16", "fp32"};
  return kNames[static_cast<size_t>(dtype)];
}

void FillItem(const EmbedItem& item, v1::Item& out) {
  out.set_id(item.id);
  std::visit([&out](const auto& source) { FillSource(source, out); }, item.source);
  if (HasPreprocessing(item)) FillPreprocessing(item, *out.mutable_preprocessing());
  FillOutputs(item, *out.mutable_outputs());
  out.set_priority(static_cast<v1::Priority>(item.priority));
}

EmbedResult TakeResult(v1::Result result) {
  EmbedResult out;
  out.id = std::move(*result.mutable_id());
  out.status = StatusOf(result);
  out.grid_thw = {result.grid_thw().t(), result.grid_thw().h(), result.grid_thw().w()};
  out.token_count = static_cast<int64_t>(result.token_count());
  out.hidden_size = static_cast<int64_t>(result.hidden_size());
  out.dtype = FromProto(result.dtype());
  for (v1::Tensor& tensor : *result.mutable_outputs()) out.outputs.push_back(TakeTensor(tensor));
  out.outputs_not_sent = {result.outputs_not_sent().begin(), result.outputs_not_sent().end()};
  out.stage_seconds = StageSeconds(result.times());
  out.batch_items = result.times().batch_items();
  out.batch_patches = static_cast<int64_t>(result.times().batch_patches());
  out.frame_indices = {result.frame_indices().begin(), result.frame_indices().end()};
  if (result.has_source_fps()) out.source_fps = result.source_fps();
  out.slice_timestamps = {result.slice_timestamps().begin(), result.slice_timestamps().end()};
  out.padded = result.padded();
  return out;
}

ServedModel ToServedModel(const v1::ModelInfo& info) {
  ServedModel out;
  out.name = info.name();
  out.fingerprint = info.fingerprint();
  out.device = info.device();
  out.server_version = info.server_version();
  out.dtype = FromProto(info.dtype());
  out.out_hidden_size = info.out_hidden_size();
  out.patch_size = info.patch_size();
  out.temporal_patch_size = info.temporal_patch_size();
  out.spatial_merge_size = info.spatial_merge_size();
  out.deepstack_visual_indexes = {info.deepstack_visual_indexes().begin(), info.deepstack_visual_indexes().end()};
  out.outputs = {info.outputs().begin(), info.outputs().end()};
  out.min_pixels = static_cast<int64_t>(info.min_pixels());
  out.max_pixels = static_cast<int64_t>(info.max_pixels());
  out.video_min_pixels = static_cast<int64_t>(info.video_min_pixels());
  out.video_max_pixels = static_cast<int64_t>(info.video_max_pixels());
  out.max_request_bytes = static_cast<int64_t>(info.limits().max_request_bytes());
  out.max_reply_bytes = static_cast<int64_t>(info.limits().max_reply_bytes());
  out.max_request_items = static_cast<int64_t>(info.limits().max_request_items());
  out.max_item_patches = static_cast<int64_t>(info.limits().max_item_patches());
  out.max_stream_items = static_cast<int64_t>(info.limits().max_stream_items());
  out.stream_chunk_bytes = static_cast<int64_t>(info.limits().stream_chunk_bytes());
  return out;
}

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

absl::Status ToStatus(const grpc::Status& status, const grpc::ClientContext& context) {
  absl::Status result = ToStatus(status);
  const auto found = context.GetServerTrailingMetadata().find(kRetryPushbackKey);
  if (found != context.GetServerTrailingMetadata().end()) {
    SetRetryAfter({found->second.data(), found->second.size()}, result);
  }
  return result;
}

}  // namespace vitower
