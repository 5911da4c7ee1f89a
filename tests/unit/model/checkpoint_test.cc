#include <cstring>

#include "checkpoint_folder.h"
#include "gmock/gmock.h"
#include "model/inspect.h"
#include "model/load.h"

namespace vitower {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// The message with which the folder is refused; empty if it is not.
std::string Refusal(const TemporaryFolder& folder) {
  return std::string(InspectCheckpoint(folder.path().string()).status().message());
}

TEST(Checkpoint, IsSummarised) {
  const CheckpointFolder folder;
  const auto summary = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->prefix, "model.visual.");
  EXPECT_EQ(summary->tensor_count, 12 * 4 + 3 + 6 * 4);
  EXPECT_EQ(summary->weight_bytes, 2 * summary->parameter_count);
  EXPECT_EQ(summary->tower.deepstack_visual_indexes, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(summary->image_processor.max_pixels, 16777216);
}

TEST(Checkpoint, FolderThatIsNoneIsRefused) {
  EXPECT_THAT(std::string(InspectCheckpoint("/nowhere/at/all").status().message()), HasSubstr("/nowhere/at/all"));
}

TEST(Checkpoint, TensorsOfTheLanguageModelAreNotLookedAt) {
  const CheckpointFolder folder;
  folder.EditTensors([](LooseTensors& tensors) {
    tensors["model.language_model.layers.0.mlp.weight"] = {"F8_E4M3", {4}, std::vector<std::byte>(4)};
  });
  EXPECT_EQ(Refusal(folder), "");
}

TEST(Checkpoint, TruncatedFileIsRefused) {
  const CheckpointFolder folder;
  const auto file = folder / "model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1000);
  EXPECT_THAT(Refusal(folder),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("tensor \"model.visual."), HasSubstr("truncated")));
}

TEST(Checkpoint, AbsurdHeaderLengthIsRefused) {
  const CheckpointFolder folder;
  std::string bytes = ReadText(folder / "model.safetensors");
  const uint64_t length = uint64_t{1} << 62;
  std::memcpy(bytes.data(), &length, sizeof(length));
  WriteText(folder / "model.safetensors", bytes);
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("model.safetensors"), HasSubstr("header length 4611686018427387904")));
}

TEST(Checkpoint, BrokenJsonIsRefusedByFile) {
  const CheckpointFolder folder;
  WriteText(folder / "config.json", "{\"vision_config\": {\"depth\": 4,}");
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("config.json"), HasSubstr("not valid JSON")));
}

TEST(Checkpoint, MissingTensorIsRefusedByName) {
  const CheckpointFolder folder;
  folder.EditTensors([](LooseTensors& tensors) { tensors.erase("model.visual.blocks.2.attn.proj.bias"); });
  EXPECT_THAT(Refusal(folder), HasSubstr("\"model.visual.blocks.2.attn.proj.bias\" is missing, expected [128]"));
}

TEST(Checkpoint, MisshapenTensorIsRefusedByName) {
  const CheckpointFolder folder;
  folder.EditTensors([](LooseTensors& tensors) {
    tensors["model.visual.merger.linear_fc1.weight"].shape = {256, 1024};
  });
  EXPECT_THAT(Refusal(folder), HasSubstr("\"model.visual.merger.linear_fc1.weight\" has shape [256, 1024], expected "
                                         "[512, 512]"));
}

TEST(Checkpoint, PatchWeightIsTakenAsLinear) {
  const CheckpointFolder folder;
  folder.EditTensors([](LooseTensors& tensors) {
    tensors["model.visual.patch_embed.proj.weight"].shape = {128, 1536};
  });
  EXPECT_EQ(Refusal(folder), "");
}

TEST(Checkpoint, PatchWeightOfAnotherLayoutIsNeverReshaped) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{128, 2, 16, 16, 3}, {1536, 128}, {128, 3, 16, 16, 2}}) {
    const CheckpointFolder folder;
    folder.EditTensors([&](LooseTensors& tensors) { tensors["model.visual.patch_embed.proj.weight"].shape = shape; });
    EXPECT_THAT(Refusal(folder), HasSubstr("patch_embed.proj.weight\" has shape [")) << shape[1];
  }
}

TEST(Checkpoint, QuantisedTensorIsRefusedByName) {
  const CheckpointFolder folder;
  folder.EditTensors([](LooseTensors& tensors) {
    auto& tensor = tensors["model.visual.blocks.0.attn.qkv.weight"];
    tensor.dtype = "I8";
    tensor.bytes.resize(tensor.bytes.size() / 2);
  });
  EXPECT_THAT(Refusal(folder), HasSubstr("\"model.visual.blocks.0.attn.qkv.weight\" is I8, expected BF16"));
}

TEST(Checkpoint, LeftoversOfQuantisationAreRefusedByName) {
  for (const char* leftover : {"weight_scale", "scales", "qweight", "weight_scale_inv"}) {
    const CheckpointFolder folder;
    const std::string name = std::string("model.visual.blocks.0.attn.qkv.") + leftover;
    folder.EditTensors([&](LooseTensors& tensors) { tensors[name] = {"F32", {1}, std::vector<std::byte>(4)}; });
    EXPECT_THAT(Refusal(folder), AllOf(HasSubstr(name), HasSubstr("quantised")));
  }
}

TEST(Checkpoint, DepthThatLiesIsRefusedByTensor) {
  const CheckpointFolder folder;
  folder.EditJson("config.json", [](json& config) {
    config["vision_config"]["depth"] = 3;
    config["vision_config"]["deepstack_visual_indexes"] = {0, 1, 2};
  });
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("\"model.visual.blocks.3."), HasSubstr("depth 3")));
  folder.EditJson("config.json", [](json& config) { config["vision_config"]["depth"] = 5; });
  EXPECT_THAT(Refusal(folder), HasSubstr("\"model.visual.blocks.4.norm1.weight\" is missing"));
}

TEST(Checkpoint, DeepstackListThatLiesIsRefusedByTensor) {
  const CheckpointFolder folder;
  folder.EditJson("config.json", [](json& config) { config["vision_config"]["deepstack_visual_indexes"] = {1, 2}; });
  EXPECT_THAT(Refusal(folder), HasSubstr("\"model.visual.deepstack_merger_list.2."));
}

struct ConfigCase {
  const char* field;
  json value;
  const char* message;
};

TEST(Checkpoint, ContradictoryConfigIsRefusedByField) {
  const ConfigCase cases[] = {{"num_heads", 3, "num_heads is 3, expected a divisor of hidden_size 128"},
                              {"num_heads", 64, "heads of a multiple of 4 elements (hidden_size / num_heads is 2)"},
                              {"num_heads", 0, "num_heads is 0"},
                              {"hidden_size", "128", "hidden_size: is \"128\", expected a number"},
                              {"hidden_size", 1e300, "hidden_size: is 1e+300"},
                              {"depth", 2.5, "depth: is 2.5, expected an integer"},
                              {"depth", nullptr, "depth: missing"},
                              {"depth", -1, "depth is -1"},
                              {"depth", 1025, "depth is 1025, expected 1 to 1024"},
                              {"hidden_size", 65540, "hidden_size is 65540, expected 1 to 65536"},
                              {"intermediate_size", 65537, "intermediate_size is 65537, expected 1 to 65536"},
                              {"out_hidden_size", 1048576, "out_hidden_size is 1048576, expected 1 to 65536"},
                              {"num_position_embeddings", 1050625, "is 1050625, expected 1 to 1048576"},
                              {"patch_size", 14, "patch_size is 14, expected 16"},
                              {"temporal_patch_size", 1, "temporal_patch_size is 1, expected 2"},
                              {"spatial_merge_size", 4, "spatial_merge_size is 4, expected 2"},
                              {"in_channels", 4, "in_channels is 4, expected 3"},
                              {"hidden_act", "silu", "hidden_act: is \"silu\", expected \"gelu_pytorch_tanh\""},
                              {"num_position_embeddings", 2305, "num_position_embeddings is 2305, expected a square"},
                              {"deepstack_visual_indexes", {1, 2, 4}, "deepstack_visual_indexes is [1, 2, 4]"},
                              {"deepstack_visual_indexes", {2, 1, 3}, "deepstack_visual_indexes is [2, 1, 3]"},
                              {"deepstack_visual_indexes", {1, 1, 3}, "deepstack_visual_indexes is [1, 1, 3]"},
                              {"deepstack_visual_indexes", 3, "deepstack_visual_indexes: is 3, expected a list"},
                              {"dtype", "int8", "dtype: is \"int8\", expected bfloat16, float16 or float32"},
                              {"torch_dtype", 16, "torch_dtype: is 16, expected bfloat16, float16 or float32"},
                              {"rope_parameters", {{"rope_theta", 5e6}}, "rope_parameters.rope_theta: is 5000000.0"}};
  const CheckpointFolder folder;
  const std::string config = ReadText(folder / "config.json");
  for (const ConfigCase& one : cases) {
    folder.EditJson("config.json", [&](json& root) { root["vision_config"][one.field] = one.value; });
    EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("config.json: vision_config."), HasSubstr(one.message)));
    WriteText(folder / "config.json", config);
  }
}

TEST(Checkpoint, IntegersMayBeWrittenAsFloats) {
  const CheckpointFolder folder;
  folder.EditJson("config.json", [](json& config) { config["vision_config"]["depth"] = 4.0; });
  EXPECT_EQ(Refusal(folder), "");
}

TEST(Checkpoint, MissingShardIsNamed) {
  CheckpointRecipe recipe;
  recipe.shards = 3;
  const CheckpointFolder folder(recipe);
  EXPECT_EQ(Refusal(folder), "");
  std::filesystem::remove(folder / "model-00002-of-00003.safetensors");
  EXPECT_THAT(Refusal(folder), HasSubstr("the shard model-00002-of-00003.safetensors is missing"));
}

TEST(Checkpoint, ShardOutsideTheFolderIsRefused) {
  CheckpointRecipe recipe;
  recipe.shards = 2;
  for (const char* file : {"../model-00001-of-00002.safetensors", "/etc/passwd", "..", ""}) {
    const CheckpointFolder folder(recipe);
    folder.EditJson("model.safetensors.index.json",
                    [&](json& index) { index["weight_map"]["model.visual.merger.norm.weight"] = file; });
    EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("merger.norm.weight"), HasSubstr("not the name of a file")));
  }
}

TEST(Checkpoint, IndexThatNamesATensorTwiceIsRefused) {
  CheckpointRecipe recipe;
  recipe.shards = 2;
  const CheckpointFolder folder(recipe);
  const std::string index = ReadText(folder / "model.safetensors.index.json");
  const auto refusal = [&](const std::string& before, const std::string& added) {
    std::string text = index;
    WriteText(folder / "model.safetensors.index.json", text.insert(text.find(before), added));
    return Refusal(folder);
  };
  EXPECT_THAT(refusal("\"model.visual.", R"("model.visual.merger.norm.bias": "model-00001-of-00002.safetensors", )"),
              HasSubstr("model.safetensors.index.json: weight_map.model.visual.merger.norm.bias stands twice"));
  EXPECT_THAT(refusal("\"model.visual.", R"("lm_head.x": "a", "lm_head.x": "b", )"),
              HasSubstr("weight_map.lm_head.x stands twice"));
  EXPECT_THAT(refusal("\"weight_map\"", R"("weight_map": {}, )"), HasSubstr("weight_map stands twice"));
  EXPECT_EQ(refusal("\"weight_map\"", R"("metadata": {"a": 1, "a": 2}, "other": {"model.visual.x": 1}, )"), "");
}

TEST(Checkpoint, IndexThatPointsToTheWrongShardIsRefused) {
  CheckpointRecipe recipe;
  recipe.shards = 2;
  const CheckpointFolder folder(recipe);
  folder.EditJson("model.safetensors.index.json", [](json& index) {
    index["weight_map"]["model.visual.deepstack_merger_list.2.norm.weight"] = "model-00001-of-00002.safetensors";
  });
  EXPECT_THAT(Refusal(folder),
              AllOf(HasSubstr("deepstack_merger_list.2.norm.weight"), HasSubstr("model-00001-of-00002.safetensors")));
}

TEST(Checkpoint, TowerUnderNoOrTwoPrefixesIsRefused) {
  CheckpointRecipe recipe;
  recipe.prefix = "vision.";
  EXPECT_THAT(Refusal(CheckpointFolder(recipe)), HasSubstr("no tower"));
  const CheckpointFolder folder;
  folder.EditTensors([](LooseTensors& tensors) { tensors["visual.x"] = {"F32", {1}, std::vector<std::byte>(4)}; });
  EXPECT_THAT(Refusal(folder), HasSubstr("more than one prefix: model.visual., visual."));
}

TEST(Checkpoint, ShardNameThatNoFileCanHaveIsRefused) {
  CheckpointRecipe recipe;
  recipe.shards = 2;
  const CheckpointFolder folder(recipe);
  folder.EditJson("model.safetensors.index.json",
                  [](json& index) { index["weight_map"]["model.visual.merger.norm.weight"] = std::string(300, 'x'); });
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("the shard xxx"), HasSubstr("is missing")));
}

TEST(Checkpoint, FilesThatLinkToThemselvesAreRefusedByName) {
  for (const std::string file : {"config.json", "preprocessor_config.json", "video_preprocessor_config.json",
                                 "processor_config.json", "model.safetensors"}) {
    const CheckpointFolder folder;
    std::filesystem::remove(folder / file);
    std::filesystem::create_symlink(file, folder / file);
    EXPECT_THAT(Refusal(folder), AllOf(HasSubstr(file), HasSubstr("symbolic links")));
  }
}

TEST(Checkpoint, FolderThatLinksToItselfIsRefused) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_THAT(std::string(InspectCheckpoint((folder / "loop").string()).status().message()), HasSubstr("not a folder"));
  EXPECT_THAT(std::string(WriteRandomCheckpoint(folder / "loop", {}).message()), HasSubstr("cannot create"));
}

TEST(Checkpoint, DeepValuesAreNamedByTheirKind) {
  constexpr int kLevels = 200'000;
  const std::string deep = std::string(kLevels, '[') + std::string(kLevels, ']');
  const std::pair<const char*, const char*> cases[] = {{"hidden_act", "hidden_act: is an array, expected"},
                                                       {"depth", "depth: is an array, expected a number"},
                                                       {"dtype", "dtype: is an array, expected bfloat16"},
                                                       {"deepstack_visual_indexes", "is an array, expected a list"},
                                                       {"rope_parameters", "rope_theta: is an array, expected"}};
  const CheckpointFolder folder;
  const std::string config = ReadText(folder / "config.json");
  for (const auto& [field, message] : cases) {
    folder.EditJson("config.json", [&, name = field](json& root) {
      root["vision_config"][name] =
          name == std::string("rope_parameters") ? json{{"rope_theta", "DEEP"}} : json("DEEP");
    });
    std::string text = ReadText(folder / "config.json");
    WriteText(folder / "config.json", text.replace(text.find("\"DEEP\""), 6, deep));
    EXPECT_THAT(Refusal(folder), HasSubstr(message));
    WriteText(folder / "config.json", config);
  }
}

TEST(Checkpoint, LongValuesAreCutInMessages) {
  const CheckpointFolder folder;
  const auto bend = [&](const char* field, const json& value) {
    folder.EditJson("config.json", [&](json& config) { config["vision_config"][field] = value; });
    return Refusal(folder);
  };
  const std::string act = bend("hidden_act", std::string(1 << 20, 'x'));
  EXPECT_THAT(act, AllOf(HasSubstr("hidden_act: is \"xxx"), HasSubstr("expected \"gelu_pytorch_tanh\"")));
  EXPECT_LT(act.size(), 1000U);
  bend("hidden_act", nullptr);
  EXPECT_LT(bend("deepstack_visual_indexes", json(std::vector<int>(1 << 18, 7))).size(), 1000U);
  WriteText(folder / "config.json", "{\"" + std::string(1 << 20, 'x'));
  EXPECT_LT(Refusal(folder).size(), 1000U);
}

TEST(Checkpoint, AnotherKindOfModelIsRefusedByName) {
  const CheckpointFolder folder;
  const auto refusal = [&](const json& type) {
    folder.EditJson("config.json", [&](json& config) { config["model_type"] = type; });
    return Refusal(folder);
  };
  EXPECT_THAT(refusal("qwen2_5_vl"), HasSubstr("config.json: model_type: is \"qwen2_5_vl\", expected a Qwen3-VL"));
  EXPECT_THAT(refusal(3), HasSubstr("config.json: model_type: is 3"));
  for (const json& type : {json("qwen3_vl_moe"), json("qwen3_5"), json()}) EXPECT_EQ(refusal(type), "") << type;
}

TEST(Checkpoint, DTypesThatAreNotServedAreRefusedByName) {
  const CheckpointFolder folder;
  folder.EditJson("config.json", [](json& config) { config["dtype"] = "int8"; });
  EXPECT_THAT(Refusal(folder), HasSubstr("config.json: dtype: is \"int8\""));
  folder.EditJson("config.json", [](json& config) { config["dtype"] = "torch.float32"; });
  const auto summary = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->stored_dtype, DType::kFp32);
}

TEST(Checkpoint, QuantisedLanguageModelLeavesTheTowerServable) {
  const CheckpointFolder folder;
  folder.EditJson("config.json", [](json& config) { config["quantization_config"] = {{"quant_method", "fp8"}}; });
  EXPECT_EQ(Refusal(folder), "");
}

TEST(Checkpoint, SingleFileBesideAnIndexOfOthersIsRefused) {
  CheckpointRecipe recipe;
  recipe.shards = 2;
  const CheckpointFolder folder(recipe);
  std::filesystem::copy_file(CheckpointFolder() / "model.safetensors", folder / "model.safetensors");
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr("model.safetensors.index.json: its weight_map does not name"),
                                     HasSubstr("model.safetensors, which lies beside it")));
}

TEST(Checkpoint, IndexOfTheSingleFileIsRead) {
  const CheckpointFolder folder;
  json index;
  folder.EditTensors([&](LooseTensors& tensors) {
    for (const auto& [name, tensor] : tensors) index["weight_map"][name] = "model.safetensors";
  });
  WriteText(folder / "model.safetensors.index.json", index.dump());
  EXPECT_EQ(Refusal(folder), "");
}

TEST(Checkpoint, InspectRefusesADTypeWhereServingWould) {
  const CheckpointFolder folder;
  folder.EditJson("config.json", [](json& config) { config["dtype"] = "float16"; });
  EXPECT_THAT(Refusal(folder), AllOf(HasSubstr(folder.path().string()), HasSubstr("choose bf16 or fp32")));
  EXPECT_TRUE(InspectCheckpoint(folder.path().string(), DType::kBf16).ok());
}

TEST(Checkpoint, Fp16IsRefusedOnACpuWithTheWayOut) {
  const CheckpointFolder folder;
  folder.EditJson("config.json", [](json& config) { config["dtype"] = "float16"; });
  LoadOptions options;
  options.model = folder.path().string();
  EXPECT_THAT(std::string(LoadEncoder(options).status().message()), HasSubstr("choose bf16 or fp32"));
  options.dtype = DType::kFp32;
  EXPECT_TRUE(LoadEncoder(options).ok());
}

}  // namespace
}  // namespace vitower
