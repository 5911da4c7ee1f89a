#include "cli/item_tensors.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "model/safetensors.h"
#include "server/cast.h"

namespace vitower {
namespace {

using Bytes = absl::Span<const std::byte>;

// The rows of one item of a batch.
Bytes RowsOf(const HostTensor& tensor, const EncodedBatch& batch, size_t item) {
  const int64_t row_bytes = tensor.cols * ByteSize(tensor.dtype);
  const int64_t begin = batch.token_offsets[item];
  const int64_t rows = batch.token_offsets[item + 1] - begin;
  return {tensor.data.get() + begin * row_bytes, static_cast<size_t>(rows * row_bytes)};
}

absl::StatusOr<NamedTensor> MakeTensor(const std::string& name, std::vector<int64_t> shape, Bytes values, DType from,
                                       DType to) {
  NamedTensor tensor{name, std::string(SafetensorsName(to)), std::move(shape), {}};
  tensor.data.resize(values.size() / static_cast<size_t>(ByteSize(from)) * static_cast<size_t>(ByteSize(to)));
  if (!AllFinite(values, from)) return absl::InternalError(absl::StrCat(name, " holds a value that is not finite"));
  if (!Cast(values, from, {reinterpret_cast<std::byte*>(tensor.data.data()), tensor.data.size()}, to)) {
    return absl::OutOfRangeError(absl::StrCat(name, " holds a value too large for fp16: choose --dtype bf16 or fp32"));
  }
  return tensor;
}

// The means of `count` equal shares of the rows, [count, cols].
std::vector<float> MeansOfShares(Bytes rows, DType dtype, int64_t cols, int64_t count, bool l2_normalize) {
  const size_t share = rows.size() / static_cast<size_t>(count);
  std::vector<float> means(static_cast<size_t>(count * cols));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const auto mean = absl::MakeSpan(means).subspan(i * static_cast<size_t>(cols), static_cast<size_t>(cols));
    MeanOfRows(rows.subspan(i * share, share), dtype, cols, mean);
    if (l2_normalize) ScaleToLengthOne(mean);
  }
  return means;
}

}  // namespace

absl::StatusOr<std::vector<NamedTensor>> ItemTensors(const EncodedBatch& batch, size_t item, const GridThw& grid,
                                                     const WantedOutputs& outputs, const std::vector<uint32_t>& levels,
                                                     DType dtype) {
  const int64_t tokens = batch.token_offsets[item + 1] - batch.token_offsets[item];
  std::vector<absl::StatusOr<NamedTensor>> made;
  const auto add_rows = [&](const std::string& name, const HostTensor& tensor) {
    made.push_back(MakeTensor(name, {tokens, tensor.cols}, RowsOf(tensor, batch, item), tensor.dtype, dtype));
  };
  const auto add_means = [&](const std::string& name, std::vector<int64_t> shape, int64_t count) {
    const HostTensor& all = batch.tokens;
    const auto means = MeansOfShares(RowsOf(all, batch, item), all.dtype, all.cols, count, outputs.l2_normalize);
    const Bytes bytes(reinterpret_cast<const std::byte*>(means.data()), means.size() * sizeof(float));
    made.push_back(MakeTensor(name, std::move(shape), bytes, DType::kFp32, dtype));
  };
  if (outputs.tokens) add_rows("tokens", batch.tokens);
  for (uint32_t level : levels) add_rows(absl::StrCat("deepstack_", level), batch.deepstack[level]);
  if (outputs.pooled) add_means("pooled", {batch.tokens.cols}, 1);
  if (outputs.pooled_slices) add_means("pooled_slices", {grid.t, batch.tokens.cols}, grid.t);

  std::vector<NamedTensor> tensors;
  for (absl::StatusOr<NamedTensor>& tensor : made) {
    if (!tensor.ok()) return tensor.status();
    tensors.push_back(*std::move(tensor));
  }
  return tensors;
}

}  // namespace vitower
