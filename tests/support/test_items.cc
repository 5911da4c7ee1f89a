#include "tests/support/test_items.h"

#include "server/cast.h"

namespace vitower {
namespace {

constexpr int64_t kPatchDim = 3 * 2 * 16 * 16;

v1::DType ToProto(DType dtype) {
  return dtype == DType::kBf16 ? v1::DTYPE_BF16 : dtype == DType::kFp16 ? v1::DTYPE_FP16 : v1::DTYPE_FP32;
}

}  // namespace

std::vector<Colour> Colours(int count) {
  std::vector<Colour> colours;
  for (int i = 0; i < count; ++i) colours.push_back({static_cast<uint8_t>(10 + i % 240), 30, 50});
  return colours;
}

v1::Item VideoItem(const std::string& bytes) {
  v1::Item item;
  item.mutable_video()->set_data(bytes);
  return item;
}

v1::Item FramesItem(int64_t width, int64_t height, const std::vector<Colour>& frames) {
  v1::Item item;
  item.mutable_frames();
  for (const Colour& colour : frames) item.mutable_frames()->add_images(SolidBmp(width, height, colour));
  return item;
}

v1::Item RgbItem(int64_t width, int64_t height, const std::vector<Colour>& pictures, uint32_t frames) {
  v1::Item item;
  v1::RawRgb& rgb = *item.mutable_rgb();
  rgb.set_data(SolidRgb(width, height, pictures));
  rgb.set_frames(frames);
  rgb.set_height(static_cast<uint32_t>(height));
  rgb.set_width(static_cast<uint32_t>(width));
  return item;
}

v1::Item PatchesItem(const GridThw& grid, DType dtype) {
  std::vector<float> values;
  for (int64_t row = 0; row < grid.patches(); ++row) {
    values.insert(values.end(), static_cast<size_t>(kPatchDim), static_cast<float>(row % 100) / 64);
  }
  v1::Item item;
  v1::PatchRows& patches = *item.mutable_patches();
  patches.mutable_data()->resize(values.size() * static_cast<size_t>(ByteSize(dtype)));
  Cast({reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)}, DType::kFp32,
       {reinterpret_cast<std::byte*>(patches.mutable_data()->data()), patches.data().size()}, dtype);
  patches.set_dtype(ToProto(dtype));
  patches.mutable_grid_thw()->set_t(static_cast<uint32_t>(grid.t));
  patches.mutable_grid_thw()->set_h(static_cast<uint32_t>(grid.h));
  patches.mutable_grid_thw()->set_w(static_cast<uint32_t>(grid.w));
  return item;
}

}  // namespace vitower
