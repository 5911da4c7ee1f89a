#include "model/cuda/tower_passes.h"

#include <cmath>
#include <vector>

#include "model/cuda/cuda_check.h"
#include "model/cuda/torch_attention.h"
#include "model/grid_tables.h"

namespace vitower {
namespace {

constexpr float kEpsilon = 1e-6F;

}  // namespace

TowerPasses::TowerPasses(const EncoderInfo& info, const DeviceWeights& weights, Gemm& gemm, const Options& options)
    : info_(info), weights_(weights), gemm_(gemm), options_(options) {
  const auto head_dim = static_cast<int32_t>(info.tower.head_dim());
  for (const int32_t tile_rows : {kSmallTileRows, kTileRows, kHopperTileRows, kShortTileRows}) {
    const int32_t hopper = HopperAttentionBlocks(options.element, head_dim, tile_rows);
    tile_attention_[tile_rows] =
        hopper > 0 ? TileAttention{LaunchHopperAttention, hopper}
                   : TileAttention{LaunchTileAttention, TileAttentionBlocks(options.element, head_dim)};
  }
  const std::vector<float> frequencies = InverseFrequencies(info.tower.head_dim());
  frequencies_.Reserve(frequencies.size() * sizeof(float));
  CheckCuda(
      cudaMemcpy(frequencies_.data(), frequencies.data(), frequencies.size() * sizeof(float), cudaMemcpyHostToDevice),
      "frequencies");
}

DeviceItems TowerPasses::ItemsOf(const Pass& pass) const {
  return {reinterpret_cast<const ItemPlace*>(pass.memory->meta() + pass.meta.items),
          static_cast<int32_t>(pass.plan->items.size()), static_cast<int32_t>(pass.plan->patches())};
}

void TowerPasses::Norm(const DeviceNorm& norm, const void* x, void* out, int64_t rows) const {
  CheckCuda(
      LaunchLayerNorm(options_.element, {x, norm.weight, norm.bias, out, rows, norm.width, kEpsilon}, options_.stream),
      "LayerNorm");
}

void TowerPasses::Linear(const DeviceLinear& linear, const void* x, void* y, int64_t rows, Epilogue epilogue) const {
  gemm_.Run({&linear, x, y, rows, epilogue}, options_.stream);
}

void TowerPasses::Patchify(const Pass& pass, const uint8_t* bytes) const {
  PatchifyArgs args{};
  args.batch = ItemsOf(pass);
  args.bytes = bytes;
  args.rows = static_cast<int32_t>(pass.rows());
  for (int channel = 0; channel < 3; ++channel) {
    args.mean[channel] = info_.image_processor.image_mean[channel] * 255.0F;
    args.deviation[channel] = info_.image_processor.image_std[channel] * 255.0F;
  }
  args.out = pass.memory->hidden();
  CheckCuda(LaunchPatchify(options_.element, args, options_.stream), "patchify");
}

void TowerPasses::PatchEmbed(const Pass& pass) const {
  Linear(weights_.patch_embed(), pass.memory->hidden(), pass.memory->x(), pass.rows(), Epilogue::kBias);
}

void TowerPasses::Position(const Pass& pass) const {
  PositionArgs args{};
  args.batch = ItemsOf(pass);
  args.side = static_cast<int32_t>(std::llround(std::sqrt(info_.tower.num_position_embeddings)));
  args.width = static_cast<int32_t>(info_.tower.hidden_size);
  args.head_dim = static_cast<int32_t>(info_.tower.head_dim());
  args.table = weights_.position();
  args.frequencies = static_cast<const float*>(frequencies_.data());
  args.x = pass.memory->x();
  args.rotary = pass.memory->rotary();
  CheckCuda(LaunchPosition(options_.element, args, static_cast<int32_t>(pass.rows()), options_.stream), "position");
}

// Attention over qkv, and its projection added to x.
void TowerPasses::Attend(const Pass& pass, const DeviceLinear& proj) const {
  const auto heads = static_cast<int32_t>(info_.tower.num_heads);
  const auto head_dim = static_cast<int32_t>(info_.tower.head_dim());
  const Activations& memory = *pass.memory;
  const bool tiles = pass.plan->attention == AttentionKind::kTiles;
  CheckCuda(LaunchRotary(options_.element, {memory.qkv(), memory.rotary(), pass.rows(), heads, head_dim, tiles},
                         options_.stream),
            "rotary");
  AttentionOutput held;
  const void* attended = memory.normed();
  if (tiles) {
    const auto* count = reinterpret_cast<const int32_t*>(memory.meta());
    const auto* list = reinterpret_cast<const AttentionTile*>(memory.meta() + pass.meta.tiles);
    const TileAttention& way = tile_attention_.at(pass.plan->tile_rows);
    const TileAttentionArgs args{memory.qkv(), memory.rotary(),      list,      count, memory.normed(), heads,
                                 head_dim,     pass.plan->tile_rows, way.blocks};
    CheckCuda(way.launch(options_.element, args, options_.stream), "attention");
  } else {
    const auto* offsets = reinterpret_cast<const int32_t*>(memory.meta() + pass.meta.segments);
    held = AttendWithTorch(pass.plan->attention,
                           {options_.element, options_.device, options_.stream, memory.qkv(), offsets,
                            &pass.plan->segment_offsets, pass.plan->longest_segment, heads, head_dim});
    attended = held.data;
  }
  Linear(proj, attended, memory.x(), pass.rows(), Epilogue::kBiasResidual);
}

void TowerPasses::Block(const Pass& pass, int64_t index) const {
  const DeviceBlock& block = weights_.blocks()[index];
  const Activations& memory = *pass.memory;
  Norm(block.norm1, memory.x(), memory.normed(), pass.rows());
  Linear(block.qkv, memory.normed(), memory.qkv(), pass.rows(), Epilogue::kBias);
  Attend(pass, block.proj);
  Norm(block.norm2, memory.x(), memory.normed(), pass.rows());
  Linear(block.fc1, memory.normed(), memory.hidden(), pass.rows(), Epilogue::kBiasGelu);
  Linear(block.fc2, memory.hidden(), memory.x(), pass.rows(), Epilogue::kBiasResidual);
}

void TowerPasses::Merger(const Pass& pass, size_t output) const {
  const DeviceMerger& merger = output == 0 ? weights_.merger() : weights_.deepstack()[output - 1];
  const Activations& memory = *pass.memory;
  const int64_t tokens = pass.rows() / info_.tower.merge_unit();
  const bool per_patch = merger.norm.width == info_.tower.hidden_size;
  Norm(merger.norm, memory.x(), memory.normed(), per_patch ? pass.rows() : tokens);
  Linear(merger.fc1, memory.normed(), memory.hidden(), tokens, Epilogue::kBias);
  CheckCuda(LaunchGelu(options_.element, GeluKind::kErf, memory.hidden(), tokens * merger.fc1.out, options_.stream),
            "GELU");
  Linear(merger.fc2, memory.hidden(), memory.output(output), tokens, Epilogue::kBias);
}

}  // namespace vitower
