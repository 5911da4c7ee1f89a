#include "model/patch_rows.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/patchify.h"

namespace vitower {
namespace {

absl::Status Bad(const char* item, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(item, ": ", what));
}

std::string Shown(const GridThw& grid) { return absl::StrCat("(", grid.t, ", ", grid.h, ", ", grid.w, ")"); }

absl::Status CheckGrid(const char* item, const GridThw& grid, int64_t merge) {
  for (const int64_t side : {grid.t, grid.h, grid.w}) {
    if (side < 1 || side > kMaxGridSide) {
      return Bad(item, absl::StrCat("grid ", Shown(grid), " has a side of ", side, ", expected 1 to ", kMaxGridSide));
    }
  }
  if (grid.h % merge != 0 || grid.w % merge != 0) {
    return Bad(item, absl::StrCat("grid ", Shown(grid), ": rows and columns must be multiples of ", merge));
  }
  return absl::OkStatus();
}

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
  const uint8_t* pixels = frames.rgb.data();
  for (int64_t patch = begin; patch < end; ++patch, rows += tower.patch_dim()) {
    const Place place = PlaceOf(patch, frames.grid, tower.spatial_merge_size);
    const int64_t first = place.slice * times;
    const int64_t own = std::min(times, frames.frame_count - first);  // fewer in an odd clip's last slice
    for (int64_t time = 0; time < own; ++time) {
      const int64_t line = (first + time) * frames.height + place.row * size;
      FillPlanes(pixels + line * row_bytes + place.col * size * 3, row_bytes, size, table, rows + time * area,
                 times * area);
    }
    for (int64_t channel = 0; channel < 3; ++channel) {
      T* plane = rows + channel * times * area;
      for (int64_t time = own; time < times; ++time) std::copy_n(plane + (own - 1) * area, area, plane + time * area);
    }
  }
}

}  // namespace

PixelTable<float> MakePixelTable(const ImageProcessorConfig& processor, float) { return MakeTable<float>(processor); }
PixelTable<Bf16> MakePixelTable(const ImageProcessorConfig& processor, Bf16) { return MakeTable<Bf16>(processor); }

absl::Status CheckItem(const Frames& frames, const TowerConfig& tower) {
  const GridThw& grid = frames.grid;
  if (absl::Status status = CheckGrid("frames", grid, tower.spatial_merge_size); !status.ok()) return status;
  const int64_t size = tower.patch_size;
  if (frames.height != grid.h * size || frames.width != grid.w * size) {
    return Bad("frames", absl::StrCat(frames.height, " x ", frames.width, " pixels, grid ", Shown(grid), " takes ",
                                      grid.h * size, " x ", grid.w * size));
  }
  const int64_t most = grid.t * tower.temporal_patch_size;
  const int64_t least = most - tower.temporal_patch_size + 1;
  if (frames.frame_count < least || frames.frame_count > most) {
    return Bad("frames", absl::StrCat("frame_count ", frames.frame_count, ", grid ", Shown(grid), " takes ", least,
                                      " to ", most));
  }
  const int64_t bytes = frames.frame_count * frames.height * frames.width * 3;
  if (static_cast<int64_t>(frames.rgb.size()) != bytes) {
    return Bad("frames", absl::StrCat("rgb has ", frames.rgb.size(), " bytes, ", frames.frame_count, " x ",
                                      frames.height, " x ", frames.width, " x 3 takes ", bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckItem(const PatchRows& patches, const TowerConfig& tower) {
  const GridThw& grid = patches.grid;
  if (absl::Status status = CheckGrid("patches", grid, tower.spatial_merge_size); !status.ok()) return status;
  const int64_t bytes = grid.patches() * tower.patch_dim() * ByteSize(patches.dtype);
  if (static_cast<int64_t>(patches.values.size()) == bytes) return absl::OkStatus();
  return Bad("patches",
             absl::StrCat("values has ", patches.values.size(), " bytes, grid ", Shown(grid), " of ", tower.patch_dim(),
                          " ", std::string(Name(patches.dtype)), " a patch takes ", bytes));
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
