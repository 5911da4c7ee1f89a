#include "model/fingerprint.h"

#include <openssl/evp.h>

#include <array>
#include <bit>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/parallel.h"

namespace vitower {
namespace {

std::string Sha256(absl::Span<const std::byte> bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(digest.data()), size));
}

std::string Describe(const TowerConfig& tower) {
  return absl::StrCat("tower ", tower.depth, " ", tower.hidden_size, " ", tower.num_heads, " ", tower.intermediate_size,
                      " ", tower.out_hidden_size, " ", tower.patch_size, " ", tower.temporal_patch_size, " ",
                      tower.spatial_merge_size, " ", tower.in_channels, " ", tower.num_position_embeddings, " [",
                      absl::StrJoin(tower.deepstack_visual_indexes, " "), "]\n");
}

std::string Describe(const ImageProcessorConfig& processor) {
  std::string text = absl::StrCat("processor ", processor.min_pixels, " ", processor.max_pixels);
  for (const auto* triple : {&processor.image_mean, &processor.image_std}) {
    for (const float value : *triple) absl::StrAppend(&text, " ", absl::Hex(std::bit_cast<uint32_t>(value)));
  }
  return text + "\n";
}

std::string Describe(const VideoProcessorConfig& processor) {
  return absl::StrCat("video processor ", processor.min_pixels, " ", processor.max_pixels, " ",
                      absl::Hex(std::bit_cast<uint64_t>(processor.fps)), " ", processor.min_frames, " ",
                      processor.max_frames, "\n");
}

std::string Describe(const TowerTensor& tensor) {
  return absl::StrCat(tensor.name, " ", tensor.dtype, " [", absl::StrJoin(tensor.shape, " "), "] ",
                      Sha256(tensor.bytes), "\n");
}

}  // namespace

std::string Fingerprint(const TowerSource& source, DType compute_dtype, int threads) {
  std::vector<std::string> lines(source.tensors.size());
  ParallelFor(threads, static_cast<int64_t>(lines.size()), [&](int64_t i) { lines[i] = Describe(source.tensors[i]); });
  const std::string text = absl::StrCat(Describe(source.tower), Describe(source.image_processor),
                                        source.video_processor ? Describe(*source.video_processor) : "", "computes ",
                                        std::string(Name(compute_dtype)), "\n", absl::StrJoin(lines, ""));
  return Sha256(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size()));
}

}  // namespace vitower
