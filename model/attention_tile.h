// private header: the body of the attention kernels, compiled once for each instruction set
#pragma once

#include <cstdint>
#include <type_traits>

#include "model/attention_kernels.h"
#include "model/tile_multiply.h"

namespace vitower {

inline constexpr int64_t kQueryBlock = 48;
inline constexpr int64_t kKeyBlock = 256;

// Where a task's scratch memory goes, in words.
template <typename Ops>
struct TileLayout {
  static constexpr int64_t kPanel = Ops::kColumns * Ops::kLanes;
  static constexpr int64_t kLine = 16;

  constexpr TileLayout(int64_t length, int64_t head_dim)
      : depth(head_dim / Ops::kPack),
        columns(RoundUp(head_dim, Ops::kLanes)),
        values(RoundUp(RoundUp(length, kPanel) * depth, kLine)),
        queries(values + RoundUp((length + Ops::kPack - 1) / Ops::kPack * columns, kLine)),
        scores(queries + RoundUp(kQueryBlock * depth, kLine)),
        sums(scores + kQueryBlock * kKeyBlock),
        rows(sums + RoundUp(kQueryBlock * columns, kLine)),
        maxima(rows + RoundUp(Ops::kLanes * depth, kLine)),
        totals(maxima + kQueryBlock),
        end(totals + kQueryBlock) {}

  int64_t depth;    // words in a row of q or k
  int64_t columns;  // of v, with padding
  // Panels of kPanel keys, [depth, kPanel] each, from 0; then:
  int64_t values;   // [ceil(length / kPack), columns]
  int64_t queries;  // [kQueryBlock, depth]
  int64_t scores;   // [kQueryBlock, kKeyBlock], in their place later the weights
  int64_t sums;     // [kQueryBlock, columns] of weighted values
  int64_t rows;     // [kLanes, depth] on their way into a panel
  int64_t maxima;   // [kQueryBlock]
  int64_t totals;   // [kQueryBlock] of weights
  int64_t end;
};

template <typename Ops, bool kAdd>
VITOWER_TILE void MultiplyBy(int64_t vectors, const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride,
                             int64_t depth, float* c, int64_t c_stride) {
  static_assert(Ops::kColumns == 4 || Ops::kColumns == 2);
  if constexpr (Ops::kColumns == 4) {
    if (vectors == 4) return Multiply<Ops, 4, kAdd>(a, a_stride, b, b_stride, depth, c, c_stride);
    if (vectors == 3) return Multiply<Ops, 3, kAdd>(a, a_stride, b, b_stride, depth, c, c_stride);
  }
  if (vectors == 2) return Multiply<Ops, 2, kAdd>(a, a_stride, b, b_stride, depth, c, c_stride);
  return Multiply<Ops, 1, kAdd>(a, a_stride, b, b_stride, depth, c, c_stride);
}

template <typename Ops, typename T>
class HeadTile {
  using Vector = typename Ops::Vector;
  using Element = typename Ops::Element;
  using Layout = TileLayout<Ops>;

 public:
  VITOWER_TARGET static void Run(const HeadTask<T>& task, void* scratch) {
    const HeadTile tile(task, static_cast<uint32_t*>(scratch));
    tile.PackKeys();
    tile.PackValues();
    const int64_t end = task.first_query + task.queries;
    for (int64_t first = task.first_query; first < end; first += kQueryBlock) {
      tile.AttendBlock(first, end - first < kQueryBlock ? end - first : kQueryBlock);
    }
  }

 private:
  HeadTile(const HeadTask<T>& task, uint32_t* scratch)
      : task_(task), layout_(task.length, task.head_dim), scratch_(scratch) {}

  VITOWER_TARGET float* Floats(int64_t place) const { return reinterpret_cast<float*>(scratch_ + place); }

  VITOWER_TARGET void Rotate(const T* row, const float* table, uint32_t* out) const {
    const int64_t half = task_.head_dim / 2;
    auto* elements = reinterpret_cast<Element*>(out);
    for (int64_t i = 0; i < half; i += Ops::kLanes) {
      const int64_t at = i + Ops::kLanes <= half ? i : half - Ops::kLanes;
      const Vector a = Ops::Load(row + at);
      const Vector b = Ops::Load(row + half + at);
      const Vector cosine = Ops::Load(table + at);
      const Vector sine = Ops::Load(table + half + at);
      Ops::Store(elements + at, Ops::Subtract(Ops::Multiply(a, cosine), Ops::Multiply(b, sine)));
      Ops::Store(elements + half + at, Ops::MultiplyAdd(a, sine, Ops::Multiply(b, cosine)));
    }
  }

  VITOWER_TARGET void PackKeys() const {
    uint32_t* rows = scratch_ + layout_.rows;
    for (int64_t key = 0; key < task_.length; key += Ops::kLanes) {
      for (int64_t i = 0; i < Ops::kLanes; ++i) {
        const int64_t row = key + i < task_.length ? key + i : task_.length - 1;
        Rotate(task_.qkv + row * 3 * task_.hidden + task_.hidden, task_.rotary + row * task_.head_dim,
               rows + i * layout_.depth);
      }
      uint32_t* panel = scratch_ + key / Layout::kPanel * Layout::kPanel * layout_.depth + key % Layout::kPanel;
      for (int64_t i = 0; i < layout_.depth; i += Ops::kLanes) {
        const int64_t at = i + Ops::kLanes <= layout_.depth ? i : layout_.depth - Ops::kLanes;
        Ops::Transpose(rows + at, layout_.depth, panel + at * Layout::kPanel, Layout::kPanel);
      }
    }
  }

  VITOWER_TARGET void PackValues() const {
    uint32_t* out = scratch_ + layout_.values;
    const T* row = task_.qkv + 2 * task_.hidden;
    for (int64_t key = 0; key < task_.length; key += Ops::kPack, out += layout_.columns) {
      const bool alone = key + 1 == task_.length;
      for (int64_t i = task_.head_dim; i < layout_.columns; ++i) out[i] = 0;
      for (int64_t i = 0; i < task_.head_dim; i += Ops::kLanes) {
        const int64_t at = i + Ops::kLanes <= task_.head_dim ? i : task_.head_dim - Ops::kLanes;
        Ops::PackValues(row + at, alone ? nullptr : row + 3 * task_.hidden + at, out + at);
      }
      row += Ops::kPack * 3 * task_.hidden;
    }
  }

  VITOWER_TARGET void PackQueries(int64_t first, int64_t count) const {
    uint32_t* out = scratch_ + layout_.queries;
    for (int64_t i = 0; i < count; ++i, out += layout_.depth) {
      Rotate(task_.qkv + (first + i) * 3 * task_.hidden, task_.rotary + (first + i) * task_.head_dim, out);
    }
  }

  VITOWER_TARGET void AttendBlock(int64_t first, int64_t count) const {
    PackQueries(first, count);
    const int64_t rows = RoundUp(count, Ops::kRows);  // the last ones mean nothing
    for (int64_t i = 0; i < kQueryBlock; ++i) {
      Floats(layout_.maxima)[i] = -__builtin_inff();
      Floats(layout_.totals)[i] = 0;
    }
    for (int64_t key = 0; key < task_.length; key += kKeyBlock) {
      const int64_t keys = task_.length - key < kKeyBlock ? task_.length - key : kKeyBlock;
      Score(rows, key, keys);
      for (int64_t row = 0; row < count; ++row) Weigh(row, keys, key == 0);
      AddValues(rows, key, keys);
    }
    for (int64_t row = 0; row < count; ++row) Finish(row, task_.out + (first + row) * task_.hidden);
  }

  VITOWER_TARGET void Score(int64_t rows, int64_t key, int64_t keys) const {
    for (int64_t at = 0; at < keys; at += Layout::kPanel) {
      const int64_t rest = RoundUp(keys - at, Ops::kLanes) / Ops::kLanes;
      const int64_t vectors = rest < Ops::kColumns ? rest : Ops::kColumns;
      for (int64_t row = 0; row < rows; row += Ops::kRows) {
        MultiplyBy<Ops, false>(vectors, scratch_ + layout_.queries + row * layout_.depth, layout_.depth,
                               scratch_ + (key + at) * layout_.depth, Layout::kPanel, layout_.depth,
                               Floats(layout_.scores) + row * kKeyBlock + at, kKeyBlock);
      }
    }
  }

  // Scores of a row to weights, and what was summed before to the new maximum.
  VITOWER_TARGET void Weigh(int64_t row, int64_t keys, bool first) const {
    constexpr int64_t kStep = Ops::kPack * Ops::kLanes;
    float* scores = Floats(layout_.scores) + row * kKeyBlock;
    const int64_t padded = RoundUp(keys, kStep);
    for (int64_t i = keys; i < padded; ++i) scores[i] = -__builtin_inff();
    Vector maximum = Ops::Load(scores);
    for (int64_t i = Ops::kLanes; i < padded; i += Ops::kLanes) maximum = Ops::Max(maximum, Ops::Load(scores + i));
    float& old_maximum = Floats(layout_.maxima)[row];
    float& total = Floats(layout_.totals)[row];
    const float in_block = Ops::Largest(maximum);
    const float scale = 1.44269504F / __builtin_sqrtf(static_cast<float>(task_.head_dim));
    const float new_maximum = in_block > old_maximum ? in_block : old_maximum;
    if (!first && in_block > old_maximum) {
      const Vector factor = PowerOfTwo<Ops>(Ops::Set((old_maximum - new_maximum) * scale));
      float* sums = Floats(layout_.sums) + row * layout_.columns;
      for (int64_t i = 0; i < layout_.columns; i += Ops::kLanes) {
        Ops::Store(sums + i, Ops::Multiply(Ops::Load(sums + i), factor));
      }
      total *= Ops::First(factor);
    }
    old_maximum = new_maximum;
    const Vector scales = Ops::Set(scale);
    const Vector base = Ops::Set(-new_maximum * scale);
    Vector sum = Ops::Set(0);
    for (int64_t i = 0; i < padded; i += kStep) {
      Vector weights[Ops::kPack];
      VITOWER_UNROLL for (int j = 0; j < Ops::kPack; ++j) {
        weights[j] = PowerOfTwo<Ops>(Ops::MultiplyAdd(Ops::Load(scores + i + j * Ops::kLanes), scales, base));
        sum = Ops::Add(sum, weights[j]);
      }
      Ops::StoreWeights(scores + i / Ops::kPack, weights);
    }
    total += Ops::Sum(sum);
  }

  VITOWER_TARGET void AddValues(int64_t rows, int64_t key, int64_t keys) const {
    const int64_t vectors = layout_.columns / Ops::kLanes;
    const int64_t groups = (vectors + Ops::kColumns - 1) / Ops::kColumns;
    const int64_t depth = (keys + Ops::kPack - 1) / Ops::kPack;
    const uint32_t* values = scratch_ + layout_.values + key / Ops::kPack * layout_.columns;
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t at = vectors * group / groups * Ops::kLanes;
      const int64_t width = vectors * (group + 1) / groups - vectors * group / groups;
      for (int64_t row = 0; row < rows; row += Ops::kRows) {
        const uint32_t* weights = scratch_ + layout_.scores + row * kKeyBlock;
        float* sums = Floats(layout_.sums) + row * layout_.columns + at;
        if (key == 0) {
          MultiplyBy<Ops, false>(width, weights, kKeyBlock, values + at, layout_.columns, depth, sums, layout_.columns);
        } else {
          MultiplyBy<Ops, true>(width, weights, kKeyBlock, values + at, layout_.columns, depth, sums, layout_.columns);
        }
      }
    }
  }

  VITOWER_TARGET void Finish(int64_t row, T* out) const {
    const float* sums = Floats(layout_.sums) + row * layout_.columns;
    const Vector factor = Ops::Set(1.0F / Floats(layout_.totals)[row]);
    for (int64_t i = 0; i < task_.head_dim; i += Ops::kLanes) {
      const int64_t at = i + Ops::kLanes <= task_.head_dim ? i : task_.head_dim - Ops::kLanes;
      Ops::Store(out + at, Ops::Multiply(Ops::Load(sums + at), factor));
    }
  }

  const HeadTask<T>& task_;
  const Layout layout_;
  uint32_t* const scratch_;
};

template <typename Ops>
int64_t TileScratchBytes(int64_t length, int64_t head_dim) {
  return TileLayout<Ops>(length, head_dim).end * static_cast<int64_t>(sizeof(uint32_t));
}

// Products of bf16 are for bf16 alone.
template <typename Ops>
constexpr AttentionKernel MakeAttentionKernel(const char* name, KernelIsa isa) {
  AttentionKernel kernel = {name,   isa, int64_t{2} * Ops::kLanes, TileScratchBytes<Ops>, HeadTile<Ops, Bf16>::Run,
                            nullptr};
  if constexpr (std::is_same_v<typename Ops::Element, float>) kernel.run_fp32 = HeadTile<Ops, float>::Run;
  return kernel;
}

}  // namespace vitower
