// A plugin for clang-tidy 19: it looks for findings in our code only.
//
// clang-tidy matches its patterns in all code of a source, and does not show what it finds in
// headers of the system. Those are most of the code, and took two thirds of its time.
//
// Frontend plugins get a parsed source before clang-tidy does. This one takes the declarations of
// the system's headers out of what clang-tidy goes through. It still knows them, so it can tell
// what our code calls. (clang-tidy 22 does so by itself.)

#include <clang/AST/ASTConsumer.h>
#include <clang/AST/ASTContext.h>
#include <clang/Frontend/FrontendPluginRegistry.h>

#include <memory>
#include <string>
#include <vector>

namespace {

class OursOnly : public clang::ASTConsumer {
 public:
  bool HandleTopLevelDecl(clang::DeclGroupRef group) override {
    for (clang::Decl* each : group) all_.push_back(each);
    return true;
  }

  void HandleTranslationUnit(clang::ASTContext& context) override {
    const clang::SourceManager& sources = context.getSourceManager();
    std::vector<clang::Decl*> ours;
    for (clang::Decl* each : all_) {
      // Where a macro is used, not where it is defined: a test macro of a library makes our code.
      const clang::SourceLocation place = sources.getExpansionLoc(each->getLocation());
      if (!sources.isInSystemHeader(place)) ours.push_back(each);
    }
    context.setTraversalScope(ours);
  }

 private:
  std::vector<clang::Decl*> all_;
};

class Plugin : public clang::PluginASTAction {
  std::unique_ptr<clang::ASTConsumer> CreateASTConsumer(clang::CompilerInstance& /*compiler*/,
                                                        llvm::StringRef /*file*/) override {
    return std::make_unique<OursOnly>();
  }
  bool ParseArgs(const clang::CompilerInstance& /*compiler*/,
                 const std::vector<std::string>& /*options*/) override {
    return true;
  }
  ActionType getActionType() override { return AddBeforeMainAction; }
};

const clang::FrontendPluginRegistry::Add<Plugin> kPlugin("ours-only", "looks at our code only");

}  // namespace
