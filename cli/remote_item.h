#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/embedding.h"
#include "client/item.h"

namespace vitower {

// What is sent for a file, and what its answer says.

ClipSampling ToClipSampling(const ClipFlags& flags);
void SetOutputs(const EmbedChoices& choices, const std::vector<uint32_t>& levels, EmbedItem& item);
void SetImagePreprocessing(const EmbedChoices& choices, EmbedItem& item);
void SetClipPreprocessing(const EmbedChoices& choices, EmbedItem& item);

EmbedItem MakeItem(const std::filesystem::path& path, std::string bytes, const EmbedChoices& choices,
                   const std::vector<uint32_t>& levels);

// The result's own status where it is not OK. Its outputs are put into the order in which they are written; INTERNAL
// where one is missing.
absl::StatusOr<Embedding> ToEmbedding(EmbedResult result, const std::vector<std::string>& tensor_names);

}  // namespace vitower
