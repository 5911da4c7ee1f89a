#include "server/model_info.h"

#include "server/reply.h"
#include "server/version.h"

namespace vitower {
namespace {

uint32_t U32(int64_t value) { return static_cast<uint32_t>(value); }
uint64_t U64(int64_t value) { return static_cast<uint64_t>(value); }

void DescribeTower(const TowerConfig& tower, v1::ModelInfo& model) {
  model.set_depth(U32(tower.depth));
  model.set_hidden_size(U32(tower.hidden_size));
  model.set_num_heads(U32(tower.num_heads));
  model.set_intermediate_size(U32(tower.intermediate_size));
  model.set_out_hidden_size(U32(tower.out_hidden_size));
  model.set_patch_size(U32(tower.patch_size));
  model.set_temporal_patch_size(U32(tower.temporal_patch_size));
  model.set_spatial_merge_size(U32(tower.spatial_merge_size));
  for (const int64_t index : tower.deepstack_visual_indexes) model.add_deepstack_visual_indexes(U32(index));
}

void DescribeProcessors(const EncoderInfo& info, v1::ModelInfo& model) {
  model.set_min_pixels(U64(info.image_processor.min_pixels));
  model.set_max_pixels(U64(info.image_processor.max_pixels));
  if (!info.video_processor) return;
  model.set_video_min_pixels(U64(info.video_processor->min_pixels));
  model.set_video_max_pixels(U64(info.video_processor->max_pixels));
}

void DescribeLimits(const ServerOptions& options, v1::Limits& limits) {
  limits.set_max_request_bytes(U64(options.max_request_bytes));
  limits.set_max_reply_bytes(U64(options.max_reply_bytes));
  limits.set_max_request_items(U64(options.max_request_items));
  limits.set_max_image_pixels(U64(options.max_image_pixels));
  limits.set_max_item_patches(U64(options.max_item_patches));
  limits.set_max_batch_patches(U64(options.max_batch_patches));
  limits.set_max_queue_patches(U64(options.max_queue_patches));
  limits.set_max_inflight_bytes(U64(options.max_inflight_bytes));
  limits.set_max_video_frames(U64(options.max_video_frames));
  limits.set_max_video_seconds(options.max_video_seconds);
  limits.set_max_stream_items(U64(options.max_stream_items));
  limits.set_stream_chunk_bytes(U64(options.stream_chunk_bytes));
}

}  // namespace

v1::ModelInfo DescribeModel(const EncoderInfo& info, const std::string& devices, const ServerOptions& options) {
  v1::ModelInfo model;
  model.set_name(info.name);
  model.set_fingerprint(info.fingerprint);
  model.set_dtype(ToProto(info.dtype));
  model.set_device(devices);
  DescribeTower(info.tower, model);
  for (const std::string& name : OutputNames(info)) model.add_outputs(name);
  DescribeProcessors(info, model);
  DescribeLimits(options, *model.mutable_limits());
  model.set_server_version(std::string(kVersion));
  return model;
}

}  // namespace vitower
