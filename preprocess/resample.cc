#include "preprocess/resample.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "preprocess/resample_kernels.h"

namespace vitower {
namespace {

// An image's rows resampled to `axis.out` pixels. Rows near the end of the image, where a kernel would read past the
// last byte, go through a copy with room behind it.
class RowResampler {
 public:
  RowResampler(const ResampleKernels& kernels, absl::Span<const uint8_t> image, const AxisWeights& axis)
      : kernels_(kernels),
        image_(image),
        axis_(axis),
        reach_(static_cast<size_t>(3 * (axis.first.back() + axis.taps) + kHorizontalSlack)) {}

  // Rows [first, first + rows) into output[0..rows). REQUIRES: rows <= kHorizontalRows.
  void Run(int64_t first, int rows, uint8_t* const* output) {
    const uint8_t* input[kHorizontalRows];
    for (int i = 0; i < rows; ++i) input[i] = Row(first + i, i);
    kernels_.horizontal(input, output, rows, axis_);
  }

 private:
  const uint8_t* Row(int64_t y, int slot) {
    const absl::Span<const uint8_t> rest = image_.subspan(static_cast<size_t>(3 * axis_.in * y));
    if (rest.size() >= reach_) return rest.data();
    std::vector<uint8_t>& copy = copies_[static_cast<size_t>(slot)];
    copy.resize(reach_);
    std::memcpy(copy.data(), rest.data(), rest.size());
    return copy.data();
  }

  const ResampleKernels& kernels_;
  const absl::Span<const uint8_t> image_;
  const AxisWeights& axis_;
  const size_t reach_;  // bytes a kernel may read from the start of a row
  std::array<std::vector<uint8_t>, kHorizontalRows> copies_;
};

void ResampleRows(const ResampleKernels& kernels, absl::Span<const uint8_t> input, int64_t height,
                  const AxisWeights& axis, uint8_t* output) {
  RowResampler resampler(kernels, input, axis);
  for (int64_t y = 0; y < height; y += kHorizontalRows) {
    uint8_t* rows[kHorizontalRows] = {};
    const int count = static_cast<int>(std::min<int64_t>(kHorizontalRows, height - y));
    for (int i = 0; i < count; ++i) rows[i] = output + 3 * axis.out * (y + i);
    resampler.Run(y, count, rows);
  }
}

// Vertical windows over rows that `row(y)` hands out in order; `prepare(begin, end)` is told first which it will ask
// for.
template <typename Prepare, typename Row>
void ResampleColumns(const ResampleKernels& kernels, const AxisWeights& axis, int64_t row_bytes, uint8_t* output,
                     Prepare prepare, Row row) {
  std::vector<const uint8_t*> rows(static_cast<size_t>(axis.max_count));
  for (size_t y = 0; y < axis.first.size(); ++y, output += row_bytes) {
    const int64_t first = axis.first[y];
    const int64_t count = axis.count[y];
    prepare(first, first + count);
    for (int64_t j = 0; j < count; ++j) rows[static_cast<size_t>(j)] = row(first + j);
    kernels.vertical(rows.data(), count, &axis.values[y * static_cast<size_t>(axis.taps)], axis.precision, output,
                     row_bytes);
  }
}

// Both passes. The rows between them live in a ring just large enough for a window: it stays in cache, and only the
// rows that some window needs are made.
void ResampleBoth(const ResampleKernels& kernels, absl::Span<const uint8_t> input, const AxisWeights& across,
                  const AxisWeights& down, uint8_t* output) {
  RowResampler resampler(kernels, input, across);
  const int64_t row_bytes = 3 * across.out;
  const int64_t ring_rows = down.max_count + kHorizontalRows - 1;
  std::vector<uint8_t> ring(static_cast<size_t>(ring_rows * row_bytes));
  const auto row = [&](int64_t y) { return ring.data() + y % ring_rows * row_bytes; };
  const int64_t rows_needed = down.first.back() + down.count.back();
  int64_t made = down.first.front();
  const auto prepare = [&](int64_t, int64_t end) {
    while (made < end) {
      uint8_t* rows[kHorizontalRows] = {};
      const int count = static_cast<int>(std::min<int64_t>(kHorizontalRows, rows_needed - made));
      for (int i = 0; i < count; ++i) rows[i] = row(made + i);
      resampler.Run(made, count, rows);
      made += count;
    }
  };
  ResampleColumns(kernels, down, row_bytes, output, prepare, row);
}

}  // namespace

void ResampleBicubicWith(const ResampleKernels& kernels, absl::Span<const uint8_t> input, ImageSize from,
                         absl::Span<uint8_t> output, ImageSize to) {
  if (from == to) {
    std::copy(input.begin(), input.end(), output.begin());
  } else if (from.height == to.height) {
    ResampleRows(kernels, input, from.height, *CachedAxisWeights(from.width, to.width), output.data());
  } else if (from.width == to.width) {
    const auto row = [&](int64_t y) { return input.data() + 3 * from.width * y; };
    ResampleColumns(
        kernels, *CachedAxisWeights(from.height, to.height), 3 * from.width, output.data(), [](int64_t, int64_t) {},
        row);
  } else {
    const auto across = CachedAxisWeights(from.width, to.width);
    const auto down = CachedAxisWeights(from.height, to.height);
    ResampleBoth(kernels, input, *across, *down, output.data());
  }
}

void ResampleBicubic(absl::Span<const uint8_t> input, ImageSize from, absl::Span<uint8_t> output, ImageSize to) {
  ResampleBicubicWith(BestKernels(), input, from, output, to);
}

}  // namespace vitower
