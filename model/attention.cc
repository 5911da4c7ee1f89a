#include "model/attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "model/isa_limits.h"
#include "model/row_kernels.h"

namespace vitower {
namespace {

constexpr int64_t kRotatedRowsPerTask = 16;
constexpr int64_t kPiecesPerThread = 4;
constexpr int64_t kFewestQueries = 192;  // of a piece that is not a whole segment: its keys are packed again for it

int64_t Rows(const SegmentRun& run) { return run.length * run.count; }

void Rotate(const at::Tensor& qkv, const at::Tensor& rotary, RotaryShape shape) {
  const int64_t width = qkv.size(1);
  const float* table = rotary.const_data_ptr<float>();
  const auto rotate = [&](auto* rows) {
    at::parallel_for(0, qkv.size(0), kRotatedRowsPerTask, [&](int64_t begin, int64_t end) {
      RotateRows(rows + begin * width, table + begin * shape.head_dim, end - begin, shape);
    });
  };
  if (qkv.scalar_type() == at::kFloat) {
    rotate(qkv.mutable_data_ptr<float>());
  } else {
    rotate(static_cast<Bf16*>(qkv.mutable_data_ptr()));
  }
}

}  // namespace

const AttentionKernel* ChooseAttention(at::ScalarType dtype, int64_t head_dim) {
  const IsaLimits limits = GetIsaLimits();
  for (const AttentionKernel* kernel : AttentionKernels()) {
    const bool fits = dtype == at::kFloat ? kernel->run_fp32 != nullptr : kernel->run_bf16 != nullptr;
    const bool usable = Allows(limits, kernel->isa) && kernel->supported();
    if (fits && usable && head_dim >= kernel->min_head_dim) return kernel;
  }
  return nullptr;
}

BatchAttention::BatchAttention(std::vector<SegmentRun> runs, at::Tensor rotary, AttentionShape shape,
                               const AttentionKernel* kernel)
    : runs_(std::move(runs)), rotary_(std::move(rotary)), shape_(shape), kernel_(kernel) {
  if (kernel_ != nullptr) Divide();
}

void BatchAttention::Divide() {
  const int64_t threads = at::get_num_threads();
  int64_t work = 0;
  int64_t longest = 0;
  for (const SegmentRun& run : runs_) {
    work += run.count * run.length * run.length * shape_.heads;
    longest = std::max(longest, run.length);
  }
  const int64_t fair = work / (threads * kPiecesPerThread) + 1;
  for (const SegmentRun& run : runs_) {
    const int64_t wanted = (run.length * run.length + fair - 1) / fair;
    const int64_t parts = std::clamp<int64_t>(run.length / kFewestQueries, 1, wanted);
    for (int64_t i = 0; i < run.count * shape_.heads * parts; ++i) {
      const int64_t part = i % parts;
      const int64_t begin = run.length * part / parts;
      const int64_t end = run.length * (part + 1) / parts;
      pieces_.push_back({run.first + i / parts / shape_.heads * run.length, run.length, i / parts % shape_.heads, begin,
                         end - begin});
    }
  }
  const auto larger = [](const Piece& a, const Piece& b) { return a.length * a.queries > b.length * b.queries; };
  std::stable_sort(pieces_.begin(), pieces_.end(), larger);
  scratch_ = at::empty({threads, kernel_->scratch_bytes(longest, shape_.head_dim)}, at::kByte);
}

template <typename T>
void BatchAttention::Run(void (*run)(const HeadTask<T>&, void*), const at::Tensor& qkv, const at::Tensor& out) const {
  const auto* in_rows = static_cast<const T*>(qkv.const_data_ptr());
  auto* out_rows = static_cast<T*>(out.mutable_data_ptr());
  const auto* table = rotary_.const_data_ptr<float>();
  const int64_t hidden = shape_.heads * shape_.head_dim;
  std::atomic<size_t> next{0};
  at::parallel_for(0, scratch_.size(0), 1, [&](int64_t thread, int64_t /*end*/) {
    void* scratch = static_cast<std::byte*>(scratch_.mutable_data_ptr()) + thread * scratch_.size(1);
    for (size_t i = next++; i < pieces_.size(); i = next++) {
      const Piece& piece = pieces_[i];
      const int64_t column = piece.head * shape_.head_dim;
      run({in_rows + piece.first * 3 * hidden + column, table + piece.first * shape_.head_dim,
           out_rows + piece.first * hidden + column, hidden, shape_.head_dim, piece.length, piece.first_query,
           piece.queries},
          scratch);
    }
  });
}

void BatchAttention::RunTorch(const at::Tensor& qkv, const at::Tensor& out) const {
  Rotate(qkv, rotary_, {shape_.heads, shape_.head_dim});
  for (const SegmentRun& run : runs_) {
    const at::Tensor parts =
        qkv.narrow(0, run.first, Rows(run)).view({run.count, run.length, 3, shape_.heads, shape_.head_dim});
    const auto part = [&](int64_t i) { return parts.select(2, i).transpose(1, 2); };
    const at::Tensor attended = at::scaled_dot_product_attention(part(0), part(1), part(2)).transpose(1, 2);
    out.narrow(0, run.first, Rows(run)).copy_(attended.reshape({Rows(run), out.size(1)}));
  }
}

at::Tensor BatchAttention::operator()(const at::Tensor& qkv) const {
  at::Tensor out = at::empty({qkv.size(0), shape_.heads * shape_.head_dim}, qkv.options());
  if (kernel_ == nullptr) {
    RunTorch(qkv, out);
  } else if (qkv.scalar_type() == at::kFloat) {
    Run(kernel_->run_fp32, qkv, out);
  } else {
    Run(kernel_->run_bf16, qkv, out);
  }
  const int64_t used = runs_.back().first + Rows(runs_.back());
  out.narrow(0, used, qkv.size(0) - used).zero_();
  return out;
}

}  // namespace vitower
