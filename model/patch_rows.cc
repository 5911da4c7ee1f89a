#include "model/patch_rows.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/patchify.h"

namespace vitower {
namespace {

constexpr int64_t kMaxGridSide = 1 << 16;  // keeps every product of sides below 2^63

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(absl::StrCat("frames: ", what)); }

template <typename T>
PixelTable<T> MakeTable(const ImageProcessorConfig& processor) {
  PixelTable<T> table;
  for (int channel = 0; channel < 3; ++channel) {
    const float mean = processor.image_mean[channel] * 255.0F;
    const float std = processor.image_std[channel] * 255.0F;
    for (int level = 0; level < 256; ++level) {
      Store((static_cast<float>(level) - mean) / std, table.values[channel][level]);
    }
  }
  return table;
}

struct Place {
  int64_t slice;
  int64_t row;
  int64_t col;
};

Place PlaceOf(int64_t patch, const GridThw& grid, int64_t merge) {
  const int64_t in_slice = patch % (grid.h * grid.w);
  const int64_t block = in_slice / (merge * merge);
  const int64_t inside = in_slice % (merge * merge);
  const int64_t blocks_across = grid.w / merge;
  return {patch / (grid.h * grid.w), block / blocks_across * merge + inside / merge,
          block % blocks_across * merge + inside % merge};
}

// One patch of one frame: three planes, `plane_stride` apart.
template <typename T>
void FillPlanes(const uint8_t* corner, int64_t row_bytes, int64_t size, const PixelTable<T>& table, T* out,
                int64_t plane_stride) {
  for (int64_t y = 0; y < size; ++y) {
    const uint8_t* pixel = corner + y * row_bytes;
    for (int64_t x = 0; x < size; ++x, pixel += 3) {
      T* value = out + y * size + x;
      value[0] = table.values[0][pixel[0]];
      value[plane_stride] = table.values[1][pixel[1]];
      value[2 * plane_stride] = table.values[2][pixel[2]];
    }
  }
}

template <typename T>
void Fill(const Frames& frames, const TowerConfig& tower, const PixelTable<T>& table, int64_t begin, int64_t end,
          T* rows) {
  const int64_t size = tower.patch_size;
  const int64_t area = size * size;
  const int64_t times = tower.temporal_patch_size;
  const int64_t row_bytes = frames.width * 3;
  const bool still = frames.frame_count == 1;
  for (int64_t patch = begin; patch < end; ++patch, rows += tower.patch_dim()) {
    const Place place = PlaceOf(patch, frames.grid, tower.spatial_merge_size);
    for (int64_t time = 0; time < (still ? 1 : times); ++time) {
      const int64_t frame = place.slice * times + time;
      const uint8_t* corner =
          frames.rgb.data() + (frame * frames.height + place.row * size) * row_bytes + place.col * size * 3;
      FillPlanes(corner, row_bytes, size, table, rows + time * area, times * area);
    }
    if (!still) continue;
    for (int64_t channel = 0; channel < 3; ++channel) {
      T* plane = rows + channel * times * area;
      for (int64_t time = 1; time < times; ++time) std::copy_n(plane, area, plane + time * area);
    }
  }
}

}  // namespace

PixelTable<float> MakePixelTable(const ImageProcessorConfig& processor, float) { return MakeTable<float>(processor); }
PixelTable<Bf16> MakePixelTable(const ImageProcessorConfig& processor, Bf16) { return MakeTable<Bf16>(processor); }

absl::Status CheckFrames(const Frames& frames, const TowerConfig& tower) {
  const GridThw& grid = frames.grid;
  const std::string shape = absl::StrCat("(", grid.t, ", ", grid.h, ", ", grid.w, ")");
  for (const int64_t side : {grid.t, grid.h, grid.w}) {
    if (side < 1 || side > kMaxGridSide) {
      return Bad(absl::StrCat("grid ", shape, " has a side of ", side, ", expected 1 to ", kMaxGridSide));
    }
  }
  const int64_t merge = tower.spatial_merge_size;
  if (grid.h % merge != 0 || grid.w % merge != 0) {
    return Bad(absl::StrCat("grid ", shape, ": rows and columns must be multiples of ", merge));
  }
  const int64_t size = tower.patch_size;
  if (frames.height != grid.h * size || frames.width != grid.w * size) {
    return Bad(absl::StrCat(frames.height, " x ", frames.width, " pixels, grid ", shape, " takes ", grid.h * size,
                            " x ", grid.w * size));
  }
  const int64_t expected_frames = grid.t * tower.temporal_patch_size;
  if (frames.frame_count != expected_frames && !(frames.frame_count == 1 && grid.t == 1)) {
    return Bad(absl::StrCat("frame_count ", frames.frame_count, ", grid ", shape, " takes ", expected_frames,
                            " (or 1 for a still)"));
  }
  const int64_t bytes = frames.frame_count * frames.height * frames.width * 3;
  if (static_cast<int64_t>(frames.rgb.size()) != bytes) {
    return Bad(absl::StrCat("rgb has ", frames.rgb.size(), " bytes, ", frames.frame_count, " x ", frames.height, " x ",
                            frames.width, " x 3 takes ", bytes));
  }
  return absl::OkStatus();
}

void FillPatchRows(const Frames& frames, const TowerConfig& tower, const PixelTable<float>& table, int64_t begin,
                   int64_t end, float* rows) {
  Fill(frames, tower, table, begin, end, rows);
}
void FillPatchRows(const Frames& frames, const TowerConfig& tower, const PixelTable<Bf16>& table, int64_t begin,
                   int64_t end, Bf16* rows) {
  Fill(frames, tower, table, begin, end, rows);
}

std::vector<float> PixelValues(const Frames& frames, const TowerConfig& tower, const ImageProcessorConfig& processor) {
  std::vector<float> rows(frames.grid.patches() * tower.patch_dim());
  FillPatchRows(frames, tower, MakePixelTable(processor, float{}), 0, frames.grid.patches(), rows.data());
  return rows;
}

}  // namespace vitower
