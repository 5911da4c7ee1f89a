#include "cli/output_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OutputPlanTest : public ::testing::Test {
 protected:
  // Where the results of inputs of these names go, relative to the folder; or the error.
  std::vector<std::string> Plan(const std::vector<std::string>& names, const std::string& output,
                                std::optional<FileFormat> format = std::nullopt, bool overwrite = false) const {
    InputList inputs;
    inputs.many = names.size() > 1;
    for (const std::string& name : names) inputs.files.push_back({folder_.path() / name, name});
    const auto plan = PlanOutputs(inputs, {output.empty() ? "" : (folder_.path() / output).string(),
                                           format,
                                           overwrite,
                                           {"tokens", "deepstack_0", "grid_thw"}});
    if (!plan.ok()) return {std::string(plan.status().message())};
    std::vector<std::string> paths;
    for (const auto& path : plan->paths) paths.push_back(path.lexically_relative(folder_.path()).string());
    return paths;
  }

  TemporaryFolder folder_;
};

TEST_F(OutputPlanTest, OneInputGoesToTheFileItself) {
  EXPECT_THAT(Plan({"a.jpg"}, "x.safetensors"), ElementsAre("x.safetensors"));
  EXPECT_THAT(Plan({"a.jpg"}, "x.bin"), ElementsAre("x.bin"));
}

TEST_F(OutputPlanTest, ManyInputsGoToAFolderUnderTheirFullNames) {
  EXPECT_THAT(Plan({"a.jpg", "a.png", "sub/a.jpg"}, "out"),
              ElementsAre("out/a.jpg.safetensors", "out/a.png.safetensors", "out/sub/a.jpg.safetensors"));
  EXPECT_THAT(Plan({"a.jpg", "b.jpg"}, "out", FileFormat::kNpy), ElementsAre("out/a.jpg.npy", "out/b.jpg.npy"));
}

TEST_F(OutputPlanTest, AnExistingFolderOrATrailingSlashMakesAFolderOfOneInput) {
  folder_.Write("there/x");
  EXPECT_THAT(Plan({"a.jpg"}, "there"), ElementsAre("there/a.jpg.safetensors"));
  EXPECT_THAT(Plan({"a.jpg"}, "new/"), ElementsAre("new/a.jpg.safetensors"));
}

TEST_F(OutputPlanTest, TheExtensionChoosesTheFormat) {
  InputList one;
  one.files = {{"a.jpg", "a.jpg"}};
  EXPECT_EQ(PlanOutputs(one, {"x.npy", {}, false, {}})->format, FileFormat::kNpy);
  EXPECT_EQ(PlanOutputs(one, {"x.safetensors", {}, false, {}})->format, FileFormat::kSafetensors);
  EXPECT_THAT(Plan({"a.jpg"}, "x.npy", FileFormat::kSafetensors)[0], HasSubstr("contradicts"));
}

TEST_F(OutputPlanTest, AFileThatExistsIsRefusedUnlessItMayBeReplaced) {
  folder_.Write("out/b.jpg.safetensors");
  EXPECT_THAT(Plan({"a.jpg", "b.jpg"}, "out")[0], HasSubstr("b.jpg.safetensors exists already"));
  EXPECT_THAT(Plan({"a.jpg", "b.jpg"}, "out", {}, /*overwrite=*/true), ::testing::SizeIs(2));
}

TEST_F(OutputPlanTest, ASiblingThatExistsIsRefusedToo) {
  folder_.Write("x.deepstack_0.npy");
  EXPECT_THAT(Plan({"a.jpg"}, "x.npy")[0], HasSubstr("x.deepstack_0.npy exists already"));
}

TEST_F(OutputPlanTest, AResultNeverReplacesAnInputOrAnotherResult) {
  EXPECT_THAT(Plan({"a.jpg"}, "a.jpg", {}, /*overwrite=*/true)[0], HasSubstr("is an input"));
  EXPECT_THAT(Plan({"a", "a.deepstack_0"}, "out", FileFormat::kNpy)[0], HasSubstr("another output"));
}

TEST_F(OutputPlanTest, ManyInputsDoNotFitAFile) {
  folder_.Write("file");
  EXPECT_THAT(Plan({"a.jpg", "b.jpg"}, "file")[0], HasSubstr("many inputs need a folder"));
  EXPECT_THAT(Plan({"a.jpg"}, "")[0], HasSubstr("--output is required"));
}

}  // namespace
}  // namespace vitower
