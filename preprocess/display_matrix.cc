#include "preprocess/display_matrix.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace vitower {
namespace {

constexpr size_t kMatrixBytes = 9 * sizeof(int32_t);

// Where side data stands in a stream has changed between versions of libav.
const uint8_t* DisplayMatrix(const AVStream& stream) {
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
  const AVPacketSideData* data = av_packet_side_data_get(
      stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  return data != nullptr && data->size >= kMatrixBytes ? data->data : nullptr;
#else
  size_t size = 0;
  const uint8_t* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  return size >= kMatrixBytes ? data : nullptr;
#endif
}

}  // namespace

int OrientationOf(const AVStream& stream) {
  const uint8_t* data = DisplayMatrix(stream);
  if (data == nullptr) return 1;
  int32_t matrix[9];
  std::memcpy(matrix, data, kMatrixBytes);
  // A step right in the stored frame goes (right_x, right_y) in the shown one, a step down (down_x, down_y).
  const int64_t right_x = matrix[0];
  const int64_t right_y = matrix[1];
  const int64_t down_x = matrix[3];
  const int64_t down_y = matrix[4];
  const bool turned = std::llabs(right_y) + std::llabs(down_x) > std::llabs(right_x) + std::llabs(down_y);
  if (turned) {
    if (right_y > 0) return down_x < 0 ? 6 : 5;
    return down_x > 0 ? 8 : 7;
  }
  if (right_x < 0) return down_y < 0 ? 3 : 2;
  return down_y < 0 ? 4 : 1;
}

}  // namespace vitower
