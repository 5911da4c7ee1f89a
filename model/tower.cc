#include "model/tower.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <malloc.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/grid_cache.h"
#include "model/grid_tables.h"
#include "model/layers.h"
#include "model/patch_rows.h"
#include "model/row_kernels.h"
#include "model/weights.h"

namespace vitower {
namespace {

constexpr int64_t kTableCacheBytes = 64 << 20;
constexpr int64_t kPatchesPerTask = 8;

at::ScalarType ScalarType(DType dtype) {
  return dtype == DType::kFp32 ? at::kFloat : dtype == DType::kFp16 ? at::kHalf : at::kBFloat16;
}

// Rows a batch is computed with where oneDNN runs the Linears. It keeps code for every row count that it ever met,
// about 0.3 MB for each kind of Linear and for the life of the process, whatever the capacity of its cache (measured
// with libtorch 2.13: +0.28 MB a row count at a capacity of 8). So batches are padded to one of few counts: all
// multiples of 4 up to 256, then 32 for each doubling; at most 1 row in 33 is padding.
int64_t PaddedRows(int64_t patches) {
  const auto octave = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(patches)));
  const int64_t step = std::max<int64_t>(4, octave / 32);
  return (patches + step - 1) / step * step;
}

// What a batch is, before any of it is computed.
struct Plan {
  std::vector<int64_t> patch_offsets{0};  // [items + 1]
  std::vector<SegmentRun> runs;
  int64_t rows = 0;  // patches and padding

  int64_t patches() const { return patch_offsets.back(); }
};

Plan MakePlan(absl::Span<const TowerInput> items, bool pad) {
  Plan plan;
  for (const TowerInput& item : items) {
    const GridThw& grid = GridOf(item);
    const int64_t length = grid.h * grid.w;
    if (!plan.runs.empty() && plan.runs.back().length == length) {
      plan.runs.back().count += grid.t;
    } else {
      plan.runs.push_back({plan.patches(), length, grid.t});
    }
    plan.patch_offsets.push_back(plan.patches() + grid.patches());
  }
  plan.rows = pad ? PaddedRows(plan.patches()) : plan.patches();
  return plan;
}

// [rows, cols] of which the rows behind `used` are zero and the others for the caller to fill.
at::Tensor EmptyRows(int64_t rows, int64_t used, int64_t cols, at::ScalarType type) {
  at::Tensor values = at::empty({rows, cols}, type);
  values.narrow(0, used, rows - used).zero_();
  return values;
}

// The learned position rows and the rotary table of one grid.
struct GridTables {
  at::Tensor position;  // [h * w, hidden_size], the tower's dtype
  at::Tensor rotary;    // [h * w, head_dim] fp32
};

// Adds the time since it was last asked to a stage.
class StageClock final {
 public:
  void Charge(std::chrono::nanoseconds& stage) {
    const auto now = std::chrono::steady_clock::now();
    stage += now - last_;
    last_ = now;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

HostTensor ToHost(const at::Tensor& tensor, DType dtype) {
  const auto owner = std::make_shared<const at::Tensor>(tensor.contiguous());
  HostTensor host;
  host.data = std::shared_ptr<const std::byte>(owner, static_cast<const std::byte*>(owner->const_data_ptr()));
  host.rows = owner->size(0);
  host.cols = owner->size(1);
  host.dtype = dtype;
  return host;
}

// The error of torch's own allocator has no type: only its text tells it.
absl::Status FailedPass(const std::string& why) {
  const std::string message = absl::StrCat("forward pass: ", why);
  const bool no_memory = why.find("can't allocate memory") != std::string::npos;
  return no_memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

class CpuTower final : public Encoder {
 public:
  CpuTower(Weights weights, EncoderInfo info, const TowerOptions& options);

  const EncoderInfo& info() const override { return info_; }
  absl::StatusOr<EncodedBatch> Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) override;

 private:
  EncodedBatch Run(absl::Span<const TowerInput> items, const OutputSet& wanted);
  at::Tensor Upload(absl::Span<const TowerInput> items, const Plan& plan) const;
  void UploadItem(const Frames& frames, const at::Tensor& rows) const;
  static void UploadItem(const PatchRows& patches, const at::Tensor& rows);
  BatchAttention AddPosition(absl::Span<const TowerInput> items, const Plan& plan, at::Tensor& x);
  GridTables TablesOf(int64_t grid_h, int64_t grid_w);
  GridTables MakeTables(int64_t grid_h, int64_t grid_w) const;
  void Observe(const char* stage, const at::Tensor& values, int64_t index = -1) const;

  EncoderInfo info_;
  const int threads_;
  const StageObserver observer_;
  const PixelTable<float> pixels_fp32_;
  const PixelTable<Bf16> pixels_bf16_;
  const AttentionKernel* const attention_kernel_;
  const Linear patch_embed_;
  const at::Tensor position_;  // [num_position_embeddings, hidden_size]
  std::vector<Block> blocks_;
  const Merger merger_;
  std::vector<Merger> deepstack_;
  GridCache<GridTables> tables_{kTableCacheBytes};
};

CpuTower::CpuTower(Weights weights, EncoderInfo info, const TowerOptions& options)
    : info_(std::move(info)),
      threads_(options.threads),
      observer_(options.observer),
      pixels_fp32_(MakePixelTable(info_.image_processor, float{})),
      pixels_bf16_(MakePixelTable(info_.image_processor, Bf16{})),
      attention_kernel_(ChooseAttention(ScalarType(info_.dtype), info_.tower.head_dim())),
      patch_embed_(weights.TakeLinear("patch_embed.proj")),
      position_(weights.Take("pos_embed.weight")),
      merger_(weights, "merger", Merger::Norm::kPerPatch, info_.tower) {
  const TowerConfig& tower = info_.tower;
  for (int64_t i = 0; i < tower.depth; ++i) blocks_.emplace_back(weights, absl::StrCat("blocks.", i));
  for (size_t i = 0; i < tower.deepstack_visual_indexes.size(); ++i) {
    deepstack_.emplace_back(weights, absl::StrCat("deepstack_merger_list.", i), Merger::Norm::kPerToken, tower);
  }
  info_.weight_bytes = weights.taken_bytes();
}

void CpuTower::Observe(const char* stage, const at::Tensor& values, int64_t index) const {
  if (!observer_) return;
  const at::Tensor fp32 = values.to(at::kFloat).contiguous();
  const std::string name = index < 0 ? stage : absl::StrCat(stage, "_", index);
  observer_(name, fp32.size(0), fp32.size(1),
            absl::MakeConstSpan(fp32.const_data_ptr<float>(), static_cast<size_t>(fp32.numel())));
}

at::Tensor CpuTower::Upload(absl::Span<const TowerInput> items, const Plan& plan) const {
  at::Tensor rows = EmptyRows(plan.rows, plan.patches(), info_.tower.patch_dim(), ScalarType(info_.dtype));
  for (size_t i = 0; i < items.size(); ++i) {
    const at::Tensor own = rows.narrow(0, plan.patch_offsets[i], GridOf(items[i]).patches());
    std::visit([&](const auto* item) { UploadItem(*item, own); }, items[i]);
  }
  return rows;
}

void CpuTower::UploadItem(const Frames& frames, const at::Tensor& rows) const {
  const TowerConfig& tower = info_.tower;
  at::parallel_for(0, rows.size(0), kPatchesPerTask, [&](int64_t begin, int64_t end) {
    const int64_t place = begin * tower.patch_dim();
    if (info_.dtype == DType::kFp32) {
      FillPatchRows(frames, tower, pixels_fp32_, begin, end, rows.data_ptr<float>() + place);
    } else {
      FillPatchRows(frames, tower, pixels_bf16_, begin, end, static_cast<Bf16*>(rows.data_ptr()) + place);
    }
  });
}

void CpuTower::UploadItem(const PatchRows& patches, const at::Tensor& rows) {
  auto* values = const_cast<uint8_t*>(patches.values.data());  // read only
  rows.copy_(at::from_blob(values, rows.sizes(), at::TensorOptions(ScalarType(patches.dtype))));
}

GridTables CpuTower::MakeTables(int64_t grid_h, int64_t grid_w) const {
  const TowerConfig& tower = info_.tower;
  const int64_t rows = grid_h * grid_w;
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(tower.num_position_embeddings)));
  const auto taps = MakePositionTaps(grid_h, grid_w, side, tower.spatial_merge_size);
  const auto rotary = MakeRotaryTable(grid_h, grid_w, tower.head_dim(), tower.spatial_merge_size);
  GridTables tables{at::empty({rows, tower.hidden_size}, position_.options()),
                    at::empty({rows, tower.head_dim()}, at::kFloat)};
  std::memcpy(tables.rotary.data_ptr(), rotary.data(), rotary.size() * sizeof(float));
  at::parallel_for(0, rows, kPatchesPerTask, [&](int64_t begin, int64_t end) {
    const auto some = absl::MakeConstSpan(taps).subspan(begin, end - begin);
    const int64_t place = begin * tower.hidden_size;
    if (info_.dtype == DType::kFp32) {
      InterpolateRows(position_.const_data_ptr<float>(), some, tower.hidden_size,
                      tables.position.data_ptr<float>() + place);
    } else {
      InterpolateRows(static_cast<const Bf16*>(position_.const_data_ptr()), some, tower.hidden_size,
                      static_cast<Bf16*>(tables.position.data_ptr()) + place);
    }
  });
  return tables;
}

GridTables CpuTower::TablesOf(int64_t grid_h, int64_t grid_w) {
  const TowerConfig& tower = info_.tower;
  const int64_t row_bytes =
      tower.hidden_size * ByteSize(info_.dtype) + tower.head_dim() * static_cast<int64_t>(sizeof(float));
  return tables_.Get(grid_h, grid_w, grid_h * grid_w * row_bytes,
                     [this](int64_t h, int64_t w) { return MakeTables(h, w); });
}

// Adds the learned positions to x and lays out the rotary tables, each slice of an item alike.
BatchAttention CpuTower::AddPosition(absl::Span<const TowerInput> items, const Plan& plan, at::Tensor& x) {
  const TowerConfig& tower = info_.tower;
  const at::Tensor rotary = EmptyRows(plan.rows, plan.patches(), tower.head_dim(), at::kFloat);
  for (size_t i = 0; i < items.size(); ++i) {
    const GridThw& grid = GridOf(items[i]);
    const GridTables tables = TablesOf(grid.h, grid.w);
    const auto slices = [&](const at::Tensor& packed) {
      return packed.narrow(0, plan.patch_offsets[i], grid.patches()).view({grid.t, grid.h * grid.w, packed.size(1)});
    };
    slices(x).add_(tables.position);
    slices(rotary).copy_(tables.rotary.expand({grid.t, grid.h * grid.w, tower.head_dim()}));
  }
  return {plan.runs, rotary, {tower.num_heads, tower.head_dim()}, attention_kernel_};
}

EncodedBatch CpuTower::Run(absl::Span<const TowerInput> items, const OutputSet& wanted) {
  const TowerConfig& tower = info_.tower;
  EncodedBatch result;
  ForwardTimes& times = result.times;
  StageClock clock;

  const Plan plan = MakePlan(items, Linear::KeepsCodeByRows(ScalarType(info_.dtype)));
  const auto used = [&](const at::Tensor& rows) {
    return rows.narrow(0, 0, rows.size(0) * plan.patches() / plan.rows);
  };
  at::Tensor pixels = Upload(items, plan);
  Observe("pixel_values", used(pixels));
  clock.Charge(times.upload);
  at::Tensor x = patch_embed_.InFp32(pixels);
  pixels.reset();
  Observe("patch_embed", used(x));
  clock.Charge(times.patch_embed);
  const BatchAttention attention = AddPosition(items, plan, x);
  Observe("position", used(x));
  clock.Charge(times.position);

  std::vector<at::Tensor> deepstack(deepstack_.size());
  for (int64_t i = 0, tap = 0; i < tower.depth; ++i) {
    blocks_[i](x, attention);
    Observe("block", used(x), i);
    clock.Charge(times.blocks);
    if (tap == static_cast<int64_t>(deepstack_.size()) || tower.deepstack_visual_indexes[tap] != i) continue;
    if (wanted.deepstack[tap]) {
      deepstack[tap] = deepstack_[tap](x);
      Observe("deepstack", used(deepstack[tap]), tap);
    }
    clock.Charge(times.merger);
    ++tap;
  }
  at::Tensor tokens;
  if (wanted.tokens) {
    tokens = merger_(x);
    Observe("merger", used(tokens));
  }
  clock.Charge(times.merger);

  for (const int64_t offset : plan.patch_offsets) result.token_offsets.push_back(offset / tower.merge_unit());
  if (tokens.defined()) result.tokens = ToHost(used(tokens), info_.dtype);
  for (const at::Tensor& level : deepstack) {
    result.deepstack.push_back(level.defined() ? ToHost(used(level), info_.dtype) : HostTensor{});
  }
  clock.Charge(times.download);
  return result;
}

absl::StatusOr<EncodedBatch> CpuTower::Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) {
  if (items.empty()) return absl::InvalidArgumentError("a batch without items");
  if (wanted.deepstack.size() != deepstack_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("outputs name ", wanted.deepstack.size(), " DeepStack levels, the tower has ", deepstack_.size()));
  }
  for (const TowerInput& input : items) {
    const absl::Status status = std::visit([&](const auto* item) { return CheckItem(*item, info_.tower); }, input);
    if (!status.ok()) return status;
  }
  try {
    const c10::InferenceMode inference;
    at::set_num_threads(threads_);  // of the calling thread's pool, too
    return Run(items, wanted);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("forward pass: out of memory");
  } catch (const c10::Error& e) {
    return FailedPass(e.what_without_backtrace());
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("forward pass: ", e.what()));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> MakeCpuTower(TowerSource source, EncoderInfo info,
                                                      const TowerOptions& options) {
  try {
    // Before oneDNN is first used; somebody who set it knows better. Room for the Linears of 32 row counts.
    setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256", /*overwrite=*/0);
    const c10::InferenceMode inference;
    at::set_num_threads(options.threads);
    auto tower = std::make_unique<CpuTower>(Weights(std::move(source.tensors), ScalarType(options.dtype)),
                                            std::move(info), options);
    malloc_trim(0);  // what the stored tensors took
    return tower;
  } catch (const c10::Error& e) {
    return absl::InternalError(absl::StrCat("building the tower: ", e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("building the tower: ", e.what()));
  }
}

}  // namespace vitower
